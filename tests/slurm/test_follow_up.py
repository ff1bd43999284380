"""Jobs that Slurm does not requeue, or whose batch process dies, go on; on a real cluster."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from espnet3.rundir import claim
from espnet3.rundir.records.job import read_job_id
from espnet3.sweep.show.searcher import LOG

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_ranks")]

Until = Callable[[Callable[[], object], str], None]
STOPPING = """
import os
import subprocess
from pathlib import Path

import making


def make(data_dir, mode, **arguments):
    stopped = Path(data_dir) / "stopped"
    if mode == "stop" or not stopped.exists():
        stopped.touch()
        # As Slurm does ahead of the time limit; scancel hears it, too. A killed rank would not do.
        subprocess.run(["scancel", "--signal=USR2", os.environ["SLURM_JOB_ID"]], check=False)
        mode = "wait"
    return making.make(data_dir, mode=mode, **arguments)
"""
STOPS_ONCE = """
import os
import subprocess
import time
from pathlib import Path

from lightning.pytorch import Callback


class StopsOnce(Callback):
    def __init__(self, what):
        self.stopped = Path(__file__).parent / f"stopped-{what}"

    def on_train_batch_start(self, trainer, *_):
        if not self.stopped.exists():
            self.stopped.touch()
            subprocess.run(["scancel", "--signal=USR2", os.environ["SLURM_JOB_ID"]], check=False)
            while not trainer.lightning_module.stop_requested():
                time.sleep(0.05)  # Slurm delivers it later: the training could be over
"""


@pytest.fixture
def stopping_recipe(small_recipe: Path) -> Path:
    """The small recipe, whose stage 0 is asked to stop; with mode `stop` each time, else the first time."""
    (small_recipe / "stopping.py").write_text(STOPPING)
    config = small_recipe / "conf" / "config.yaml"
    config.write_text(config.read_text().replace("making.make", "stopping.make"))
    return small_recipe


@pytest.fixture
def no_requeue(cluster, tmp_path: Path) -> dict[str, str]:
    """Where a site's own sbatch makes every job one that is not requeued."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    sbatch = bin_folder / "sbatch"
    sbatch.write_text(f'#!/bin/sh\nexec {shutil.which("sbatch")} --no-requeue "$@"\n')
    sbatch.chmod(0o755)
    return {**cluster.environment, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}


def test_a_job_that_is_not_requeued_goes_on_as_another_that_the_next_one_waits_for(
    cluster, stopping_recipe: Path, start: Callable[..., Any], start_on_slurm, no_requeue: dict[str, str]
):
    code, output = start(stopping_recipe, "--stop-stage", "1", "launcher=slurm", **no_requeue).finish()
    assert code == 1, output  # there is nothing to collect statistics of
    jobs = stopping_recipe / "exp" / "default" / "jobs"
    assert sorted(path.name for path in jobs.glob("*-*")) == ["collect_stats-1", "prepare-1"]
    newest = json.loads((jobs / "prepare-1" / "submission.json").read_text())["job_id"]
    assert f"continues as job {newest}" in output
    begins = sorted((stopping_recipe / "exp" / "default" / "attempts").glob("prepare-*/begin.json"))
    first, second = (json.loads(begin.read_text())["slurm_job_id"] for begin in begins)
    assert second == newest != first
    assert (cluster.accounted(first), cluster.accounted(second)) == (["FAILED"], ["COMPLETED"]), output
    waiting = json.loads((jobs / "collect_stats-1" / "submission.json").read_text())["job_id"]
    assert cluster.accounted(waiting) == ["FAILED"], "it was cancelled, and did not wait for the new job"
    _, output = start_on_slurm("status", stopping_recipe / "exp" / "default", "--json").finish()
    (run,) = json.loads(output)["runs"]
    assert (run["stages"][0]["state"], run["stages"][0]["job_id"]) == ("done", newest)


def test_a_job_that_never_gets_further_ends_after_its_restarts_also_by_follow_up_jobs(
    stopping_recipe: Path, start: Callable[..., Any], no_requeue: dict[str, str]
):
    words = ("--stop-stage", "0", "launcher=slurm", "prepare.mode=stop", "resources.prepare.max_restarts=1")
    code, output = start(stopping_recipe, *words, **no_requeue).finish()
    assert code == 75 and output.count("continues as job") == 1, output
    assert "2 attempts in a row left no newer checkpoint, and max_restarts=1" in output


def test_a_batch_process_that_is_killed_starts_again_in_its_job_when_its_tasks_have_ended(
    cluster, small_recipe: Path, start: Callable[..., Any], until: Until
):
    words = ("--stop-stage", "0", "launcher=slurm", "prepare.mode=wait")
    command = start(small_recipe, *words, **cluster.environment)
    data, exp_dir = small_recipe / "data", small_recipe / "exp" / "default"
    until(lambda: list(data.glob("begun-*")), "the stage")
    begin = json.loads((exp_dir / "attempts" / "prepare-1" / "begin.json").read_text())
    os.kill(begin["launched_by"]["pid"], signal.SIGKILL)
    until(lambda: len(list(data.glob("begun-*"))) == 2, "the stage again")
    assert (data / "saved").exists(), "the first task was still at work"
    (data / "go").touch()
    code, output = command.finish()
    assert code == 0 and "the batch process was killed, exit code 137" in output, output


def test_an_element_of_a_sweep_that_is_not_requeued_goes_on_as_an_array_of_its_own(
    sweeps, no_requeue: dict[str, str]
):
    (sweeps.directory / "stopping.py").write_text(STOPS_ONCE)
    words = (
        *("--multirun", "launcher=slurm", "trainer.max_epochs=1", "logger.tensorboard=null"),
        *("prepare.sizes={train: 32, valid: 16, test: 16}", "optimizer.lr=1e-2,3e-3"),
        "+callbacks.stops={_target_: stopping.StopsOnce, what: '${optimizer.lr}'}",
    )
    code, output = sweeps.start("run", "--recipe", sweeps.directory, *words, **no_requeue).finish()
    assert code == 0 and "2 trials: 2 done" in output, output
    sweep = sweeps.sweep()
    (array,) = [json.loads(path.read_text())["job_id"] for path in sweep.glob("arrays/*/submission.json")]
    ids = [json.loads(path.read_text())["job_id"] for path in sweep.glob("trials/*/jobs/*/submission.json")]
    assert sorted(one.partition("_")[2] for one in ids) == ["0", "1"]
    assert not [one for one in ids if one.partition("_")[0] == array]
    assert len(list(sweep.glob("trials/*/attempts/train-2"))) == 2


def test_a_search_whose_job_is_not_requeued_goes_on_as_another_with_the_trials_it_has(
    sweeps, until: Until, no_requeue: dict[str, str]
):
    (sweeps.directory / "wait-search").touch()
    words = (
        *("--multirun", "--stop-stage", "2", "launcher=slurm", "trainer.max_epochs=1", "--detach"),
        *("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"),
        *("optimizer.lr=3e-3,1e-2", "hydra/sweeper/sampler=tpe", "logger.tensorboard=null"),
        "prepare.sizes={train: 32, valid: 16, test: 16}",
        "+callbacks.waits={_target_: failing.Fails, what: search}",
    )
    code, output = sweeps.start("run", "--recipe", sweeps.directory, *words, **no_requeue).finish()
    assert code == 0 and "search for 2 trials: submitted as job" in output, output
    folder = sweeps.sweep() / "search"
    first = read_job_id(folder)
    until((sweeps.directory / "begun-search").exists, "the first trial")
    owner = claim.owner(folder)
    assert owner is not None
    os.kill(owner.pid, signal.SIGUSR2)  # as ahead of the time limit
    until(lambda: read_job_id(folder) not in (first, None), "the follow-up job")
    second = read_job_id(folder)
    assert "Slurm does not requeue this job" in (log := (folder / LOG).read_text()), log
    until(lambda: f"continues as job {second}" in (folder / LOG).read_text(), "the first job to say so")
    until(lambda: "1 under way, 1 to be chosen" in (folder / LOG).read_text(), "it to find the trial")
    (sweeps.directory / "wait-search").unlink()
    code, output = sweeps.run("logs", "-f", sweeps.sweep())
    assert code == 0 and "2 trials: 2 done" in output, output
    assert [len(list(path.glob("attempts/train-*"))) for path in sweeps.sweep().glob("trials/*")] == [1, 1]
    until(lambda: sweeps.cluster.accounted(second) == ["COMPLETED"], "sacct")
    assert sweeps.cluster.accounted(first) == ["FAILED"]
