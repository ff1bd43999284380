"""Sweeps as job arrays on a real cluster: durable, idempotent and honest, whatever becomes of the command."""

import json
import os
from collections.abc import Callable, Iterator

import pytest

from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.show.results import read_sweep

pytestmark = pytest.mark.slow

Until = Callable[[Callable[[], object], str], None]
SHORT = (
    *("--multirun", "launcher=slurm", "trainer.max_epochs=1", "logger.tensorboard=null"),
    *("prepare.sizes={train: 32, valid: 16, test: 16}", "sweep.max_parallel=3"),
)


HERE = "${recipe_dir}/model.py"
UNPREPARED = (
    *("--stage", "2", "--stop-stage", "3", "--detach", "model.stats_file=x"),
    *(f"manifests={{train: {HERE}, valid: {HERE}, test: {HERE}}}", "check_data=off"),
)
"""For trials that are only queued: what they would read is there, and no corpus."""


@pytest.fixture
def shut(cluster) -> Iterator[None]:
    """Nothing starts while the test runs."""
    cluster("scontrol", "update", "partitionname=normal", "state=down")
    yield
    cluster("scancel", "--user", str(os.geteuid()))
    cluster("scontrol", "update", "partitionname=normal", "state=up")


def test_a_sweep_outlives_its_command_and_only_what_failed_runs_again(sweeps, until: Until):
    sweep = sweeps.sweep()
    callback = "+callbacks.fails={_target_: failing.Fails, what: '${optimizer.lr}-${seed}'}"
    grid = ("optimizer.lr=1e-2,3e-3,1e-3", "seed=1,2", "resources.train.nodes=2", callback)
    (sweeps.directory / "bad-0.003-2").write_text("raise")
    command = sweeps.start("run", "--recipe", sweeps.directory, *SHORT, *grid)
    until((sweeps.directory / "begun-0.01-1").exists, "the first trial")
    command.kill()
    code, output = sweeps.run("logs", "-f", sweep)
    assert code == 1, output
    assert "6 trials: 5 done, 1 failed" in output
    assert "failed: rank 1: ValueError: these learning rates do not go together" in output
    view = read_sweep(sweep, QueueSnapshot())
    (failed,) = [trial for trial in view.trials if trial.state == "failed"]
    assert failed.values == {"optimizer.lr": 3e-3, "seed": 2} and "ValueError" in failed.traceback
    assert all(trial.metrics["test/accuracy"] >= 0 for trial in view.trials if trial is not failed)
    (array,) = [json.loads(path.read_text())["job_id"] for path in sweep.glob("arrays/*/submission.json")]
    until(lambda: sorted(sweeps.cluster.accounted(array)) == ["COMPLETED"] * 5 + ["FAILED"], "sacct")
    # Stage 1 was one job for all of them.
    assert len(list(sweep.glob("shared/*/attempts/collect_stats-*"))) == 1
    assert not list(sweep.glob("trials/*/attempts/collect_stats-*"))

    (sweeps.directory / "bad-0.003-2").unlink()
    code, output = sweeps.run("resume", sweep)
    assert code == 0, output
    assert "6 trials: 1 to run, 5 done" in output and "6 trials: 6 done" in output
    trained = {path.name: len(list(path.glob("attempts/train-*"))) for path in (sweep / "trials").iterdir()}
    assert sorted(trained.values()) == [1, 1, 1, 1, 1, 2] and trained[failed.name] == 2

    # The same trials in other words: nothing is left to do.
    code, output = sweeps.run(
        *("run", "--recipe", sweeps.directory, *SHORT, "seed=2,1", "optimizer.lr=0.001,0.003,0.01", *grid[2:])
    )
    assert code == 0 and "6 trials: 0 to run, 6 done" in output, output
    assert len(list(sweep.glob("arrays/*"))) == 2


CORPUS_THAT_MAY_FAIL = """
from pathlib import Path

import prepare


def make(data_dir, **options):
    if (Path(__file__).parent / ("bad-" + Path(data_dir).name)).exists():
        raise ValueError("no such corpus")
    return prepare.prepare(data_dir, **options)
"""


def test_a_shared_stage_that_fails_is_told_once_and_holds_up_only_the_trials_that_wait_for_it(sweeps):
    (sweeps.directory / "corpus.py").write_text(CORPUS_THAT_MAY_FAIL)
    (sweeps.directory / "bad-two").touch()
    grid = (f"data_dir={sweeps.directory}/one,{sweeps.directory}/two", "seed=1,2")
    words = (*SHORT, "--stop-stage", "2", *grid, "prepare._target_=corpus.make")
    code, output = sweeps.run("run", "--recipe", sweeps.directory, *words)
    assert code == 1, output
    sweep = sweeps.sweep()
    code, output = sweeps.run("status", sweep)
    assert code == 0 and "4 trials: 2 done, 2 cancelled" in output, output
    (line,) = [line for line in output.splitlines() if line.startswith("stage ")]
    start, _, log = line.partition("; see ")
    assert start == "stage 0 prepare, which trials share, failed: rank 0: ValueError: no such corpus"
    (log,) = sweep.parents[2].glob(f"**/{log.rpartition('sweeps/')[2]}")
    assert "no such corpus" in log.read_text()

    (sweeps.directory / "bad-two").unlink()
    code, output = sweeps.run("resume", sweep)
    assert code == 0 and "4 trials: 4 done" in output and "which trials share" not in output, output


@pytest.mark.parametrize(
    "point",
    [
        *("sweep.json", "arrays/1", "arrays/1/array.json", "trials/*/jobs/*/job.json", "arrays/1/job.sh"),
        "arrays/1/submission.json",
    ],
)
def test_a_submission_that_is_killed_loses_no_trial_and_queues_none_twice(
    sweeps, shut, until: Until, point: str
):
    sweep = sweeps.sweep("killed")
    grid = ("tag=killed", "optimizer.lr=1,2,3", "seed=1,2,3,4")
    words = ("run", "--recipe", sweeps.directory, *SHORT, *UNPREPARED, *grid)
    command = sweeps.start(*words)
    while not any(sweep.glob(point)) and command.process.poll() is None:
        pass
    command.kill()
    noted = sweep / "arrays" / "1" / "submission.json"
    noted.unlink(missing_ok=True)  # as if it had died a moment earlier, when Slurm had the array already
    code, output = sweeps.run(*words)
    assert code == 0, output
    elements = sweeps.elements()
    assert len(elements) == 12, (elements, output)
    code, shown = sweeps.run("status", sweep)
    assert code == 0 and "12 trials: 12 queued" in shown, shown
    code, output = sweeps.run(*words)
    assert code == 0 and "12 trials: 0 to run, 12 under way" in output
    assert sweeps.elements() == elements
    code, output = sweeps.run("cancel", "--wait", sweep)
    assert code == 0 and "cancelled 12 jobs" in output
    code, shown = sweeps.run("status", sweep)
    assert "12 trials: 12 cancelled" in shown, shown
    # A trial that was handed to a later array is not run by an earlier one that comes to light.
    code, output = sweeps.run("resume", "--detach", sweep)
    assert code == 0 and len(sweeps.elements()) == 12


def test_swept_resources_are_an_array_for_each_set(sweeps, shut):
    grid = ("resources.train.nodes=1,2", "resources.train.tasks_per_node=2", "seed=1,2,3")
    code, output = sweeps.run("run", "--recipe", sweeps.directory, *SHORT, *UNPREPARED, *grid)
    assert code == 0, output
    lines = sweeps.cluster("squeue", "--noheader", "--array", "--format=%F %D %C").splitlines()
    assert sorted(line.split()[1:] for line in lines) == [["1", "2"]] * 3 + [["2", "4"]] * 3
    assert len({line.split()[0] for line in lines}) == 2


def test_a_requeued_trial_continues_and_statistics_that_fail_are_told(sweeps, until: Until):
    callback = "+callbacks.fails={_target_: failing.Fails, what: '${seed}'}"
    (sweeps.directory / "wait-1").touch()
    command = sweeps.start(
        "run", "--recipe", sweeps.directory, "--stop-stage", "2", *SHORT, callback, "seed=1,2"
    )
    until((sweeps.directory / "begun-1").exists, "the first trial")
    array = json.loads((sweeps.sweep() / "arrays" / "1" / "submission.json").read_text())["job_id"]
    sweeps.cluster.requeue(f"{array}_0", until)
    (sweeps.directory / "wait-1").unlink()
    code, output = command.finish()
    assert code == 0, output
    (first,) = (sweeps.sweep() / "trials").glob("seed-1__*")
    assert len(list(first.glob("attempts/train-*"))) == 2
    assert len(list(first.glob("jobs/*"))) == 1

    code, output = sweeps.run(
        "run", "--recipe", sweeps.directory, *SHORT, "seed=1,2", "tag=no", "prepare.seed=-1"
    )
    assert code == 1, output
    assert "2 trials: 2 cancelled" in output and "blocked: what it waits for failed" in output


def test_an_array_that_slurm_refuses_leaves_nothing_queued(sweeps):
    words = ("run", "--recipe", sweeps.directory, *SHORT, "seed=1,2", "resources.train.partition=nowhere")
    code, output = sweeps.run(*words)
    assert code == 2 and "invalid partition" in output.lower(), output
    assert "; there are normal, urgent" in output, output
    assert not sweeps.elements() and not (sweeps.directory / "exp").exists()
