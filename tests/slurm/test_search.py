"""A search on a real cluster: as a job it needs no shell, and whoever searches may die and be replaced."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from espnet3.rundir import claim
from espnet3.rundir.records.job import read_job_id
from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.show.results import read_sweep
from espnet3.sweep.show.searcher import LOG

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
Until = Callable[[Callable[[], object], str], None]
FAILING = """
import time
from pathlib import Path
from lightning.pytorch import Callback

class Fails(Callback):
    def __init__(self, seed):
        self.seed = seed

    def on_train_batch_start(self, trainer, *_):
        folder = Path(__file__).parent
        (folder / "begun").touch()
        while (folder / "wait").exists():
            time.sleep(0.1)
            if trainer.lightning_module.stop_requested():
                return
        if self.seed == 2:
            raise ValueError("this seed is bad")
"""
SEARCH = (
    *("--multirun", "--stop-stage", "2", "launcher=slurm"),
    *("hydra/sweeper=optuna", "hydra/sweeper/sampler=tpe"),
    *("hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "optimizer.lr=3e-3,1e-2"),
    *("seed=1,2", "+callbacks.fails={_target_: failing.Fails, seed: '${seed}'}", "trainer.max_epochs=1"),
    *("logger.tensorboard=null", "prepare.sizes={train: 32, valid: 16, test: 16}"),
)
"""All four points are tried, in whichever order; those with seed 2 fail."""


class Search:
    """A copy of the smallest recipe, whose trials wait while a file is there and fail by their seed."""

    def __init__(self, sweeps) -> None:
        self.cluster, self.directory, self.sweep = sweeps.cluster, sweeps.directory, sweeps.sweep()
        self.start, self.run = sweeps.start, sweeps.run
        (self.directory / "failing.py").write_text(FAILING)
        (self.directory / "wait").touch()

    def searches(self) -> bool:
        """Whether somebody does."""
        owner = claim.owner(self.sweep / "search")
        return owner is not None and owner.is_alive()

    def trained(self) -> list[int]:
        """How often each trial was trained."""
        return [len(list(path.glob("attempts/train-*"))) for path in (self.sweep / "trials").iterdir()]


@pytest.fixture
def search(sweeps) -> Search:
    """The recipe on the cluster."""
    return Search(sweeps)


def end_controller(cluster) -> None:
    """End Slurm's controller as an administrator does: it saves its state first.

    One that is killed forgets what it has not saved yet, such as the start of a job a moment ago, and
    starts that job a second time: "Duplicate jobid on nodes".
    """
    os.kill(cluster.pids()["slurmctld"], signal.SIGTERM)


def test_a_detached_search_goes_on_without_a_shell_and_after_a_restart(search: Search, until: Until):
    command = ("run", "--recipe", search.directory, *SEARCH, "--detach")
    code, output = search.run(*command)
    assert code == 0 and "search for 4 trials: submitted as job" in output, output
    until((search.directory / "begun").exists, "the first trials")
    code, output = search.run(*command)
    assert code == 0 and "the search is under way already" in output, output
    job = read_job_id(search.sweep / "search")
    assert job is not None
    search.cluster.requeue(job, until)
    code, shown = search.run("status", search.sweep)
    assert code == 0 and f"search: 2 of 4 trials; under way, by job {job}, PENDING" in shown, shown
    again, log = "search for 4 trials: 2 under way, 2 to be chosen, 2 at once", search.sweep / "search" / LOG
    until(lambda: again in log.read_text(), "the restart to find both trials")
    (search.directory / "wait").unlink()
    code, output = search.run("logs", "-f", search.sweep)
    assert code == 1 and again in output, output
    assert "4 trials: 2 done, 2 failed" in output and "rank 0: ValueError: this seed is bad" in output
    view = read_sweep(search.sweep, QueueSnapshot())
    done = [trial for trial in view.trials if trial.state == "done"]
    assert [trial.values["seed"] for trial in done] == [1, 1]
    assert view.best == min(done, key=lambda trial: trial.objective or 0.0).name
    assert search.trained() == [1, 1, 1, 1]
    until(lambda: search.cluster.accounted(job)[-1:] == ["FAILED"], "sacct")


def test_a_search_that_loses_its_command_is_gone_on_with_and_cancelled_as_a_whole(
    search: Search, until: Until
):
    command = search.start("run", "--recipe", search.directory, *SEARCH)
    until((search.directory / "begun").exists, "the first trials")
    command.interrupt_terminal()
    code, output = command.finish()
    assert code == 130, output
    assert "2 trials go on, but the search does not: the same command, or `espnet3 resume" in output
    code, output = search.run("resume", "--detach", search.sweep)
    assert code == 0 and "submitted as job" in output, output
    until(search.searches, "the job that searches")
    code, output = search.run("cancel", "--wait", search.sweep)
    assert code == 0 and "cancelled the search, job" in output and "cancelled 2 jobs" in output, output
    assert not search.cluster("squeue", "--noheader")
    code, shown = search.run("status", search.sweep)
    assert "2 trials: 2 " in shown and "not running" in shown, shown

    # What was cancelled goes on; a search that was killed finds its trials again.
    (search.directory / "begun").unlink()
    command = search.start("run", "--recipe", search.directory, *SEARCH)
    until((search.directory / "begun").exists, "the trials once more")
    command.kill()
    (search.directory / "wait").unlink()
    end_controller(search.cluster)
    command = search.start("run", "--recipe", search.directory, *SEARCH)
    assert any("trying again for a minute" in line for line in command.process.stdout)
    search.cluster.up()
    code, output = command.finish()
    assert code == 1 and "4 trials: 2 done, 2 failed" in output, output
    assert sorted(search.trained()) == [1, 1, 2, 2]


def test_a_search_whose_time_is_up_starts_again_and_waits_for_slurm(search: Search, until: Until):
    more = ("sweep.searcher.timeout_min=1", "sweep.trials_per_job=2")
    code, output = search.run("run", "--recipe", search.directory, *SEARCH, *more, "--detach")
    assert code == 0, output
    log = search.sweep / "search" / LOG
    until((search.directory / "begun").exists, "the first trials")
    until(lambda: "the time limit is near: starts again" in log.read_text(), "the time limit")
    until(lambda: "2 under way, 2 to be chosen" in log.read_text(), "the restart to find both trials")
    end_controller(search.cluster)
    until(lambda: "Slurm is away" in log.read_text(), "the search to see it")
    (search.directory / "wait").unlink()
    search.cluster.up()
    code, output = search.run("logs", "-f", search.sweep)
    assert code == 1 and "4 trials: 2 done, 2 failed" in output, output
    assert search.trained() == [1, 1, 1, 1]
    jobs = [{read_job_id(path) for path in trial.glob("jobs/*")} for trial in search.sweep.glob("trials/*")]
    assert len(set.union(*jobs)) < 4, jobs
