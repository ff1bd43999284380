"""On a real cluster the stock hydra-submitit-launcher runs the trials that our launchers run."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.show.results import read_sweep

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FAILING = """
import os
from pathlib import Path
from lightning.pytorch import Callback

class Fails(Callback):
    def __init__(self, seed):
        self.seed = seed

    def on_train_start(self, *_):
        if Path(__file__).with_name(f"bad-{self.seed}").exists() and os.environ["RANK"] == "3":
            raise ValueError("this seed is bad")
"""
WORDS = (
    *("trainer.max_epochs=1", "logger.tensorboard=null", "prepare.sizes={train: 32, valid: 16, test: 16}"),
    *("+callbacks.fails={_target_: failing.Fails, seed: '${seed}'}", "seed=1,2", "trainer.accelerator=cpu"),
    *("resources.train.nodes=2", "resources.train.tasks_per_node=2", "resources.train.timeout_min=30"),
)
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(cluster, template: Path) -> Command:
    """Run a module of the package: exit code and output."""

    def run(module: str, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            env=cluster.environment,
            capture_output=True, text=True, timeout=600, check=False, cwd=template,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


def test_stock_launcher_and_ours_run_the_same_trials(cluster, template: Path, command: Command):
    (template / "failing.py").write_text(FAILING)
    (template / "bad-2").touch()
    assert command("espnet3", "run", "--stop-stage", "1", *WORDS[:3])[0] == 0
    code, output = command("espnet3.hydra_app", "-m", "hydra/launcher=submitit_slurm", *WORDS)
    assert code == 1, output
    assert "rank 3: ValueError: this seed is bad" in output
    (submitted,) = (template / "exp/sweeps/default/hydra/.submitit").glob("*/*_submission.sh")
    script = submitted.read_text()
    assert "--nodes=2" in script and "--cpus-per-task=2" in script and "--time=30\n" in script
    view = read_sweep(template / "exp" / "sweeps" / "default", QueueSnapshot())
    assert {trial.values["seed"]: trial.state for trial in view.trials} == {1: "done", 2: "failed"}

    (template / "bad-2").unlink()
    code, output = command("espnet3.hydra_app", "-m", "launcher=slurm", "--detach", *WORDS)
    assert code == 0 and "2 trials: 1 to run, 1 done" in output, output
    code, output = command("espnet3", "logs", "-f", "exp/sweeps/default")
    assert code == 0 and "2 trials: 2 done" in output, output
    for directory in (template / "exp/sweeps/default/trials").iterdir():
        assert (directory / "attempts" / "train-1" / "rank-3.json").exists()
