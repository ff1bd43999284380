"""Sweeps of a real recipe on this machine: failures, resuming, extending, stopping, dying."""

import json
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from espnet3.__main__ import main
from espnet3.resources import Resources
from espnet3.sweep.execute.trial_process import start_trial, trial_log

Until = Callable[[Callable[[], object], str], None]
FAILING = """
import time
from pathlib import Path
from lightning.pytorch import Callback

class Fails(Callback):
    def __init__(self, seed):
        self.seed = seed

    def on_train_start(self, *_):
        if Path(__file__).with_name(f"bad-{self.seed}").exists():
            raise ValueError("this seed is bad")

    def on_train_batch_start(self, trainer, *_):
        if Path(__file__).with_name("wait").exists():
            Path(__file__).with_name(f"begun-{self.seed}").touch()
            while not trainer.lightning_module.stop_requested():
                time.sleep(0.1)
"""
SHORT = ("trainer.max_epochs=1", "logger.tensorboard=null", "prepare.sizes={train: 32, valid: 16, test: 16}")
CALLBACK = "+callbacks.fails={_target_: failing.Fails, seed: '${seed}'}"


@pytest.fixture
def recipe(template: Path) -> Path:
    """The smallest recipe with a callback that fails or waits where a file says so."""
    (template / "failing.py").write_text(FAILING)
    return template


def attempts(sweep: Path) -> dict[str, int]:
    """How often each trial was trained, by the beginning of its name."""
    return {
        path.name.rpartition("__")[0]: len(list(path.glob("attempts/train-*")))
        for path in (sweep / "trials").iterdir()
    }


@pytest.mark.slow
def test_a_value_that_fails_in_a_shared_stage_fails_its_own_trial_only(recipe: Path, run):
    code, output = run(recipe, "--multirun", *SHORT, "model.channels=-4,4")
    assert code == 1, output
    assert "1 done, 1 failed" in output
    assert "stage 1 collect_stats failed with the values of trial channels--4__" in output
    assert attempts(recipe / "exp" / "sweeps" / "default") == {"channels--4": 0, "channels-4": 1}


@pytest.mark.slow
def test_a_failed_trial_ends_no_other_and_alone_is_run_again(recipe: Path, run, verb):
    sweep = recipe / "exp" / "sweeps" / "default"
    (recipe / "bad-2").touch()
    code, output = run(recipe, "--multirun", *SHORT, CALLBACK, "seed=2,1")
    assert code == 1, output
    assert "1 done, 1 failed" in output and "ValueError: this seed is bad" in output
    assert output.count("stage 1 collect_stats starts") == 1
    code, logs = verb("logs", sweep)
    assert code == 0 and "this seed is bad" in logs and "Traceback" in logs

    (recipe / "bad-2").unlink()
    code, output = verb("resume", sweep)
    assert code == 0, output
    assert "2 trials: 1 to run, 1 done" in output
    assert attempts(sweep) == {"seed-2": 2, "seed-1": 1}

    code, output = run(
        recipe, "-m", "seed=1,2,3", *reversed(SHORT), CALLBACK, "resources.train.timeout_min=99"
    )
    assert code == 0, output
    assert "3 trials: 1 to run, 2 done" in output
    assert attempts(sweep) == {"seed-2": 2, "seed-1": 1, "seed-3": 1}
    code, shown = verb("status", sweep)
    assert code == 0 and "3 trials: 3 done" in shown and "best: seed-" in shown
    code, document = verb("status", "--json", sweep)
    (view,) = json.loads(document)
    assert {trial["state"] for trial in view["trials"]} == {"done"}
    assert all(trial["metrics"]["test/accuracy"] is not None for trial in view["trials"])

    # A trial alone, by the command that the sweep names for it, has the very same result.
    (first,) = [trial for trial in view["trials"] if trial["values"] == {"seed": 1}]
    script, *words = shlex.split(first["command"])
    assert script == str(recipe / "run.sh")
    code, output = run(recipe, *words)
    assert code == 0, output
    metrics = json.loads((recipe / "exp" / first["name"] / "validate" / "metrics.json").read_text())
    own = json.loads((sweep / "trials" / first["name"] / "validate" / "metrics.json").read_text())
    assert metrics["metrics"] == own["metrics"]


@pytest.mark.slow
def test_a_sweep_becomes_longer_in_place(recipe: Path, run):
    sweep = recipe / "exp" / "sweeps" / "default"
    assert run(recipe, "--multirun", *SHORT, "seed=1,2")[0] == 0
    longer = [*SHORT[1:], "trainer.max_epochs=2"]
    code, output = run(recipe, "--multirun", *longer, "seed=1")
    assert code == 0 and "trainer.max_epochs=1, not 2" in output, output
    code, output = run(recipe, "--multirun", *longer, "seed=1,2")
    assert code == 0 and "2 trials: 1 to run, 1 done" in output, output
    assert "not 2" not in output
    assert attempts(sweep) == {"seed-1": 2, "seed-2": 2}
    for trial in (sweep / "trials").iterdir():
        assert "epoch 1/" not in (trial / "logs" / "train" / "attempt-2" / "rank-0.log").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_ranks")
def test_ctrl_c_stops_the_running_trial_and_leaves_the_rest_to_be_done(
    recipe: Path, start, until: Until, verb
):
    sweep = recipe / "exp" / "sweeps" / "default"
    (recipe / "wait").touch()
    command = start(recipe, "-m", *SHORT, CALLBACK, "seed=1,2")
    until((recipe / "begun-1").exists, "the first trial")
    code, hold_directory = verb("resume", sweep)
    assert code == 2 and "is in use by process" in hold_directory
    command.interrupt_terminal()
    code, output = command.finish()
    assert code == 75, output
    assert "1 stopped, 1 missing" in output
    assert attempts(sweep) == {"seed-1": 1, "seed-2": 0}

    # At once, too, when none of its processes hears yet.
    name = next((sweep / "trials").glob("seed-1__*")).name
    for number, resources in enumerate((Resources(), None), start=2):
        trial = start_trial(sweep, name, ["train", "validate"], force=False, command="", resources=resources)
        trial.ask_to_stop()
        until(lambda trial=trial: trial.poll() is not None, "the trial to end")
        assert trial.poll() == 75, trial_log(sweep, name).read_text()
        end = sweep / "trials" / name / "attempts" / f"train-{number}" / "end.json"
        assert json.loads(end.read_text())["outcome"] == "stopped"


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_ranks")
def test_a_trial_ends_with_the_command_that_is_killed(recipe: Path, start, until: Until, verb):
    sweep = recipe / "exp" / "sweeps" / "default"
    (recipe / "wait").touch()
    command = start(recipe, "-m", *SHORT, CALLBACK, "seed=1,2")
    until((recipe / "begun-1").exists, "the first trial")
    command.signal(signal.SIGKILL)
    end = next((sweep / "trials").glob("seed-1__*")) / "attempts" / "train-1" / "end.json"
    until(end.exists, "the trial to end")
    assert json.loads(end.read_text())["outcome"] == "stopped"
    code, shown = verb("status", sweep)
    assert code == 0 and "1 stopped, 1 missing" in shown


def test_a_mistake_leaves_nothing_behind(recipe: Path, capsys: pytest.CaptureFixture[str]):
    for words, message in (
        (("optimizer.lr=1,fast",), "optimizer.lr=fast"),
        (("seed=1,2", "--detach"), "--detach: trials run here (launcher=local)"),
        (("seed=1,2", "--stage", "2"), "is missing: stage 0 prepare makes it, use --stage 0"),
        (("seed=1,2", "--cfg", "job"), "--cfg shows one configuration"),
        (("seed=1,2", "--stop-stage", "1"), "give stages that include 2 or 3"),
    ):
        code = main(["run", "--recipe", str(recipe), "--multirun", *words])
        output = "".join(capsys.readouterr())
        assert code == 2 and message in output and len(output.splitlines()) == 1, output
    assert not (recipe / "exp").exists()


def test_a_dry_run_of_thousands_of_trials_says_all_and_touches_nothing(recipe: Path, run):
    code, output = run(
        recipe, "-m", "--dry-run", "seed=range(0,11)", "optimizer.lr=range(0.001,0.1,0.001)",
        "launcher=slurm", "sweep.max_parallel=10", "resources.train.timeout_min=60",
    )  # fmt: skip
    assert code == 0, output
    lines = output.splitlines()
    assert lines[0].endswith("sweeps/default: 1,100 trials: 1100 to run")
    assert "    objective: minimize valid/loss" in lines
    assert "    lr: 1e-3, 2e-3, 3e-3, 4e-3, 5e-3, … (100 values)" in lines
    assert "    … and 1095 more" in lines
    assert "    in 2 arrays, of which this is the first" in lines
    assert "    | #SBATCH --array=0-1000%5" in lines
    assert sum("script:" in line for line in lines) == 3  # of stage 0, stage 1 and the trials
    together = ("launcher=slurm", "sweep.trials_per_job=8")
    code, output = run(recipe, "-m", "--dry-run", "seed=range(0,20)", *together)
    code_here, output_here = run(recipe, "-m", "--dry-run", "seed=1,2", "sweep.trials_per_job=2")
    assert code_here == 0 and "2 trials, each:" in output_here.splitlines()  # here they share imports anyway
    assert code == 0 and "    8 trials in each of 3 jobs, one after the other" in output.splitlines()
    assert "    | #SBATCH --array=0-2" in output.splitlines()
    assert not (recipe / "exp").exists()
