"""Hydra's own command line runs the trials that `run.sh --multirun` runs, by any launcher."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.utils import JobStatus
from hydra.errors import CompactHydraException

from espnet3.hydra_app.launch import launch
from espnet3.sweep.show.results import read_sweep_status

ROOT = Path(__file__).resolve().parents[2]
FAILING = """
from pathlib import Path
from lightning.pytorch import Callback

class Fails(Callback):
    def __init__(self, seed):
        self.seed = seed

    def on_train_start(self, *_):
        if Path(__file__).with_name(f"bad-{self.seed}").exists():
            raise ValueError("this seed is bad")
"""
SHORT = (
    *("trainer.max_epochs=1", "logger.tensorboard=null", "prepare.sizes={train: 32, valid: 16, test: 16}"),
    "+callbacks.fails={_target_: failing.Fails, seed: '${seed}'}",
)
Hydra = Callable[..., tuple[int, str]]


@pytest.fixture
def hydra(tmp_path: Path) -> Hydra:
    """Run the application in some folder: exit code and output."""

    def run(recipe: Path, *words: str) -> tuple[int, str]:
        (tmp_path / "here").mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "espnet3.hydra_app", "--recipe", str(recipe), *words],
            capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path / "here",
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{ROOT}"},
        )  # fmt: skip
        assert not list((tmp_path / "here").iterdir()), "it leaves nothing where it was called"
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("seed=1",), "a single training is for run.sh"),
        (("-m", "optimizer.lrr=1,2"), "has no key optimizer.lrr; did you mean optimizer.lr?"),
        (("-m", "seed=1,2", "hydra/launcher=nope"), "Could not find 'hydra/launcher/nope'"),
        (
            ("-m", "seed=1,2", "hydra/launcher=basic", "launcher=slurm"),
            "Hydra's launcher says where trials run",
        ),
        (
            ("-m", "seed=1,2", "hydra/launcher=basic", "hydra/sweeper=other"),
            "other launchers than ours run only grids",
        ),
        (("-m", "seed=1,2", "--stage", "9"), "there is no such stage"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(hydra: Hydra, small_recipe: Path, words, message):
    code, output = hydra(small_recipe, *words)
    assert code == 2, output
    assert message in output and len(output.splitlines()) == 1
    assert not (small_recipe / "exp").exists()


def test_run_sh_says_where_hydras_launchers_are(run, small_recipe: Path):
    code, output = run(small_recipe, "--multirun", "seed=1,2", "hydra/launcher=submitit_slurm")
    assert code == 2, output
    assert f"python -m espnet3.hydra_app --recipe {small_recipe} -m" in output


def test_hydras_flags_reach_hydra(hydra: Hydra, small_recipe: Path):
    code, output = hydra(small_recipe, "--cfg", "job", "--package", "optimizer", "optimizer.lr=7")
    assert (code, output) == (0, "# @package optimizer\n_target_: torch.optim.Adam\nlr: 7\n")


@pytest.mark.slow
def test_trials_are_the_same_by_hydras_launchers_by_ours_and_by_run_sh(hydra: Hydra, template: Path, run):
    (template / "failing.py").write_text(FAILING)
    (template / "bad-2").touch()
    assert run(template, *SHORT, "--stop-stage", "1")[0] == 0
    code, output = hydra(template, "-m", *SHORT, "seed=2,1", "hydra/launcher=basic")
    assert code == 1, output
    assert "ValueError: this seed is bad" in output and "Traceback" not in output.split("[HYDRA]")[-1]
    sweep = template / "exp" / "sweeps" / "default"
    states = {row.listed.values["seed"]: row.state.state for row in read_sweep_status(sweep).rows}
    assert states == {2: "failed", 1: "done"}

    (template / "bad-2").unlink()
    code, output = hydra(template, "-m", *SHORT, "seed=2,1")
    assert code == 0, output
    assert "2 trials: 1 to run, 1 done" in output and "[HYDRA]" not in output
    code, output = run(template, "--stage", "2", "--multirun", *SHORT, "seed=1,2")
    assert code == 0 and "2 trials: 0 to run, 2 done" in output, output

    # What a sweeper of Hydra's is told: the objective of those that are done, an error for the others.
    (template / "bad-3").touch()
    asked = {"stages": ["train", "validate"], "command": "a search", "force": False, "detach": False}
    trials = [[*SHORT, f"seed={seed}"] for seed in (1, 3)]
    done, failed = launch(str(template), [*SHORT, "seed=1,3"], trials, **asked)
    objectives = {row.listed.values["seed"]: row.objective for row in read_sweep_status(sweep).rows}
    assert done.status == JobStatus.COMPLETED and done.return_value == objectives[1]
    assert failed.status == JobStatus.FAILED and objectives[3] is None
    with pytest.raises(CompactHydraException, match=r"is failed: .*this seed is bad"):
        _ = failed.return_value
