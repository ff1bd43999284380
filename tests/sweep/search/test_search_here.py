"""Searches of a real recipe on this machine: failures, going on, dying, objectives that nobody reports."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.show.results import read_sweep
from espnet3.sweep.trials.search_record import read_search

pytestmark = pytest.mark.slow

Until = Callable[[Callable[[], object], str], None]
FAILING = """
import time
from pathlib import Path
from lightning.pytorch import Callback
from espnet3.errors import Diverged

class Fails(Callback):
    def __init__(self, lr):
        self.lr = lr

    def on_train_start(self, *_):
        folder = Path(__file__).parent
        if (folder / "all-diverge").exists():
            raise Diverged("diverged at epoch 1, batch 1: the gradients are NaN or Inf")
        if (folder / "all-bad").exists() or ((folder / "high-bad").exists() and self.lr > 1e-2):
            raise ValueError("this learning rate is bad")

    def on_train_batch_start(self, trainer, *_):
        folder = Path(__file__).parent
        while (folder / "wait").exists():
            (folder / "begun").touch()
            time.sleep(0.05)
            if trainer.lightning_module.stop_requested():
                return
"""
SEARCH = (
    *("--multirun", "hydra/sweeper=optuna", "optimizer.lr=tag(log, interval(1e-3,1e-1))"),
    *("trainer.max_epochs=1", "logger.tensorboard=null", "prepare.sizes={train: 32, valid: 16, test: 16}"),
    "+callbacks.fails={_target_: failing.Fails, lr: '${optimizer.lr}'}",
)
TRAINED = (*SEARCH, "--stop-stage", "2")


@pytest.fixture
def recipe(template: Path) -> Path:
    """The smallest recipe with a callback that fails or waits where a file says so."""
    (template / "failing.py").write_text(FAILING)
    return template


def trained(sweep: Path) -> dict[str, int]:
    """How often each trial was trained."""
    return {path.name: len(list(path.glob("attempts/train-*"))) for path in (sweep / "trials").iterdir()}


def test_a_search_survives_a_failed_trial_and_goes_on_to_its_number(recipe: Path, run, verb):
    sweep = recipe / "exp" / "sweeps" / "default"
    (recipe / "high-bad").touch()
    code, output = run(recipe, *SEARCH, "hydra.sweeper.n_trials=3")
    assert code == 1, output
    assert "search for 3 trials: 3 to be chosen, 1 at once" in output
    assert "ValueError: this learning rate is bad" in output and "espnet3 resume" in output
    view = read_sweep(sweep, QueueSnapshot())
    states = {trial.values["optimizer.lr"] > 1e-2: trial.state for trial in view.trials}
    assert len(view.trials) == 3 and states == {True: "failed", False: "done"}
    done = [trial for trial in view.trials if trial.state == "done"]
    assert view.best == min(done, key=lambda trial: trial.objective or 0.0).name
    assert view.command.endswith("hydra.sweeper.n_trials=3") and len(trained(sweep)) == 3

    # Its number is that of the whole search: once more nothing, a larger one as many as are missing.
    first = trained(sweep)
    code, output = run(recipe, *SEARCH, "hydra.sweeper.n_trials=3")
    assert code == 1 and "3 known, 0 to be chosen" in output and trained(sweep) == first, output
    code, output = run(recipe, *SEARCH, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")
    assert "3 known, 1 to be chosen, 2 at once" in output, output
    assert len(trained(sweep)) == 4 and first.items() <= trained(sweep).items()

    (recipe / "high-bad").unlink()
    code, output = verb("resume", sweep)
    assert code == 0 and "to continue, 0 to be chosen" in output, output
    assert "4 trials: 4 done" in output and "search: 4 of 4 trials" in output
    assert set(trained(sweep).values()) == {1, 2} and len(trained(sweep)) == 4


def test_a_search_that_is_killed_or_stopped_goes_on_with_the_same_command(
    recipe: Path, start, run, until: Until, verb
):
    sweep = recipe / "exp" / "sweeps" / "default"
    two = (*TRAINED, "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2")
    (recipe / "wait").touch()
    command = start(recipe, *two)
    until(lambda: len(list(sweep.glob("trials/*/attempts/train-1"))) == 2, "two trials")
    until((recipe / "begun").exists, "a training")
    code, shown = verb("status", sweep)
    assert code == 0 and "search: 2 of 3 trials; under way, by process" in shown, shown
    code, output = run(recipe, *two)
    assert code == 2 and "the search is under way, by process" in output, output
    command.signal(signal.SIGKILL)
    command.process.wait()
    command = start(recipe, *two)
    until(lambda: len(list(sweep.glob("trials/*/attempts/train-2"))) == 2, "both once more")
    begun = list(trained(sweep))
    assert len(begun) == 2  # no other ones
    command.interrupt_terminal()
    code, output = command.finish()
    assert code == 75 and "continues the search" in output, output
    code, shown = verb("status", sweep)
    assert "search: 2 of 3 trials; not running: `espnet3 resume" in " ".join(shown.split()), shown

    (recipe / "wait").unlink()
    code, output = run(recipe, *two)
    assert code == 0 and "2 to continue, 1 to be chosen" in output, output
    assert "3 trials: 3 done" in output and set(begun) < set(trained(sweep))
    record = read_search(sweep)
    assert record is not None and set(record.trials) == set(trained(sweep))
    commands = json.loads((sweep / "sweep.json").read_text())["commands"]
    assert len(commands) == 1  # the same, given several times


def test_a_search_whose_first_trials_all_fail_gives_up(recipe: Path, run):
    sweep = recipe / "exp" / "sweeps" / "default"
    (recipe / "all-bad").touch()
    code, output = run(recipe, *TRAINED, "hydra.sweeper.n_trials=9", "hydra.sweeper.n_jobs=2")
    assert code == 1 and "the search ends here: all of the first " in output, output
    assert 4 <= len(trained(sweep)) <= 5
    # The mistake was mended: what failed is known, and others are tried.
    (recipe / "all-bad").unlink()
    known = len(trained(sweep))
    code, output = run(recipe, *TRAINED, f"hydra.sweeper.n_trials={known + 1}")
    assert code == 1 and f"{known + 1} trials: 1 done, {known} failed" in output, output


def test_trials_that_diverge_are_results_and_the_search_goes_on(recipe: Path, run, verb):
    sweep = recipe / "exp" / "sweeps" / "default"
    (recipe / "all-diverge").touch()
    code, output = run(recipe, *TRAINED, "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=2")
    assert code == 1 and "5 trials: 5 diverged" in output and "the search ends here" not in output, output
    (recipe / "all-diverge").unlink()
    code, output = verb("resume", sweep)
    assert "5 known, 0 to be chosen" in output and set(trained(sweep).values()) == {1}, output


def test_an_objective_that_no_trial_reports_ends_the_search(recipe: Path, run):
    code, output = run(recipe, *TRAINED, "sweep.objective=valid/wer", "sweep.direction=minimize")
    assert code == 1, output
    assert "is done, but has no valid/wer: sweep.objective takes one of valid/" in output
    assert "valid/loss" in output and len(trained(recipe / "exp" / "sweeps" / "default")) == 1


def test_a_mistake_leaves_nothing_behind(recipe: Path, run):
    for words, message in (
        (("--detach",), "--detach: trials run here; only those on Slurm go on by themselves"),
        (("--force",), "--force: a search never runs finished trials again"),
        (("--stage", "2"), "is missing: stage 0 prepare makes it, use --stage 0"),
        (("hydra/sweeper=optuno",), "there is no such sweeper here; did you mean optuna?"),
    ):
        code, output = run(recipe, *SEARCH, *words)
        assert code == 2 and message in output and len(output.splitlines()) <= 2, output
    code, output = run(recipe, *SEARCH, "--dry-run", "hydra.sweeper.n_jobs=2", "launcher=slurm", "--detach")
    assert code == 0 and "a search for 20 trials by TPESampler, 2 at once" in output, output
    assert "    optimizer.lr: 0.001 to 0.1, log" in output and "--mem=2048M" in output
    assert not (recipe / "exp").exists()
