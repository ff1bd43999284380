"""A job whose tasks were sent SIGTERM on a real cluster: whether Slurm ends it, or somebody else sent it."""

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from espnet3.rundir.records.attempt import read_attempts
from espnet3.slurm import own_job

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_ranks")]

Until = Callable[[Callable[[], object], str], None]


@pytest.fixture
def asking(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process asks the test's own Slurm, and decides at its first look."""
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    monkeypatch.setenv("SLURM_JOB_PARTITION", "normal")
    monkeypatch.setattr(own_job, "NOT_ENDED_AFTER_S", 0.0)


def test_a_job_that_runs_on_is_not_ended_and_a_cancelled_one_is(cluster, asking, until: Until):
    job = cluster.submit("sleep 600", "--output=/dev/null")
    until(lambda: cluster("squeue", "-h", "-o", "%T", "-j", job) == "RUNNING", "the job")
    assert not own_job.wait_for_slurm(job)
    cluster("scancel", job)
    assert own_job.wait_for_slurm(job)


def test_a_job_in_its_grace_is_being_ended_and_waits_for_it(cluster, asking, until: Until):
    cluster("scontrol", "update", "partitionname=normal", "gracetime=600")
    try:
        job = cluster.submit("trap '' TERM; while :; do sleep 1; done", "--output=/dev/null", "--requeue")
        until(lambda: cluster("squeue", "-h", "-o", "%T", "-j", job) == "RUNNING", "the job")
        cluster.submit("true", "--partition=urgent", "-N4", "--exclusive", "--output=/dev/null")
        until(lambda: "PreemptTime=2" in cluster("scontrol", "show", "job", job), "the preemption")
        with ThreadPoolExecutor() as pool:
            known = pool.submit(own_job.wait_for_slurm, job)
            looks = [0]

            def ask(command: list[str], _ask=own_job.ask) -> str:
                looks[0] += command[0] == "squeue"
                return _ask(command)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(own_job, "ask", ask)
                until(lambda: looks[0] >= 2, "a second look")
            assert not known.done()
            cluster("scancel", job)
            assert known.result(timeout=120)
    finally:
        cluster("scontrol", "update", "partitionname=normal", "gracetime=0")


@pytest.fixture
def asked(cluster, small_recipe: Path, start, until: Until) -> Callable[[signal.Signals], tuple[int, str]]:
    """Send a signal to the task of a job which then has nothing more to wait for: exit code and job's log."""

    def ask(number: signal.Signals) -> tuple[int, str]:
        stage = ("--stage", "0", "--stop-stage", "0", "launcher=slurm", "prepare.mode=wait")
        command = start(small_recipe, *stage, **cluster.environment)
        exp = small_recipe / "exp" / "default"
        rank = exp / "attempts" / "prepare-1" / "rank-0.json"
        until(rank.exists, "the task")
        os.kill(json.loads(rank.read_text())["process"]["pid"], number)
        until((small_recipe / "data" / "saved").exists, "the task to have saved")
        (small_recipe / "data" / "go").touch()
        code, _ = command.finish()
        return code, next((exp / "logs" / "prepare").glob("job*")).read_text()

    return ask


def test_a_task_that_somebody_asks_to_end_has_its_job_start_again(asked, small_recipe: Path):
    code, log = asked(signal.SIGTERM)
    assert code == 0 and "starts again: Slurm does not end this job" in log, log
    ends = [attempt.result for attempt in read_attempts(small_recipe / "exp" / "default")]
    assert [(result.outcome, result.reason) for result in ends if result] == [
        ("stopped", "SIGTERM"),
        ("done", ""),
    ]


def test_a_task_that_is_interrupted_has_its_job_end_to_be_continued(asked, small_recipe: Path):
    code, log = asked(signal.SIGINT)
    assert code == 75 and "ends: it was asked to stop by SIGINT" in log, log
    (only,) = read_attempts(small_recipe / "exp" / "default")
    assert only.result and (only.result.outcome, only.result.reason) == ("stopped", "SIGINT")
