"""How a job ended, from its last attempt and Slurm's state."""

from pathlib import Path

import pytest

from espnet3.errors import UserError
from espnet3.outcomes.job import (
    COMES_BACK_S,
    NO_RESULT,
    failed_result,
    job_result,
    may_come_back,
    may_restart,
)
from espnet3.rundir.records.attempt import Attempt, AttemptResult, Begin
from espnet3.rundir.records.outcome import TaskState
from espnet3.slurm.queue import SlurmJob

FAILED, SAVED = (
    AttemptResult("failed", "rank 1: ValueError: no"),
    AttemptResult("stopped", "SIGTERM", ended_at=100.0),
)
DONE = AttemptResult("done")
RESTARTS = AttemptResult("stopped", "SIGUSR2", restarts=True)


def attempt(result: AttemptResult | None) -> Attempt:
    return Attempt(Path("nowhere"), Begin("train", 1, "slurm", 2, launched_by={}), result)


@pytest.mark.parametrize(
    ("last", "state", "outcome", "reason"),
    [
        (attempt(DONE), "COMPLETED", "done", ""),
        (None, "COMPLETED", "failed", NO_RESULT),
        (attempt(None), "COMPLETED", "failed", NO_RESULT),
        (attempt(FAILED), "COMPLETED", "failed", "rank 1: ValueError: no"),
        (None, "CANCELLED", "killed", "was cancelled"),
        (attempt(FAILED), "CANCELLED by 1000", "killed", "was cancelled"),
        (attempt(SAVED), "CANCELLED", "stopped", "was cancelled"),
        (attempt(FAILED), "FAILED", "failed", "rank 1: ValueError: no"),
        (attempt(SAVED), "PREEMPTED", "stopped", "SIGTERM"),
        (attempt(RESTARTS), "NODE_FAIL", "killed", "ended as NODE_FAIL"),
        (attempt(None), "OUT_OF_MEMORY", "killed", "ended as OUT_OF_MEMORY"),
        (attempt(None), "FAILED", "failed", "ended as FAILED"),
        (None, "FAILED", "failed", "ended as FAILED"),
        (None, "TIMEOUT", "killed", "ended as TIMEOUT"),
    ],
)
def test_slurm_decides_where_a_job_was_cancelled_or_killed_else_its_last_attempt(
    last, state, outcome, reason
):
    result = job_result(last, SlurmJob("7", state))
    assert (result.outcome, result.reason) == (outcome, reason)


def test_what_the_job_itself_has_written_counts_before_its_last_attempt():
    result = job_result(attempt(FAILED), SlurmJob("7", "COMPLETED"), own=DONE)
    assert result.outcome == "done"


TASK = TaskState(1, {}, "/log/1", outcome="failed", message="ValueError: no")


@pytest.mark.parametrize(
    ("last", "tasks", "has_log", "outcome", "reason"),
    [
        (attempt(SAVED), (), True, "stopped", "SIGTERM"),
        (attempt(RESTARTS), (), True, "killed", "gone from the queue"),
        (attempt(None), (TASK,), True, "failed", "rank 1: ValueError: no"),
        (attempt(None), (), True, "killed", "ended without a result"),
        (None, (), True, "failed", "ended before the stage began"),
        (None, (), False, "killed", "gone from the queue"),
    ],
)
def test_a_job_that_slurm_has_forgotten_ended_as_its_files_say(last, tasks, has_log, outcome, reason):
    result = job_result(last, None, tasks, has_log=has_log)
    assert (result.outcome, result.reason) == (outcome, reason)
    assert (result.rank, result.log) == ((1, "/log/1") if tasks else (None, ""))


def test_only_what_sigterm_has_stopped_may_be_restarted_by_slurm():
    assert may_restart(SAVED) and may_restart(AttemptResult("stopped", "SIGTERM; after 2 attempts"))
    assert not any(map(may_restart, (None, FAILED, RESTARTS, AttemptResult("killed", "SIGTERM"))))


def test_such_a_job_may_come_back_for_a_while_unless_it_was_cancelled():
    assert may_come_back(SAVED, None, 101.0) and may_come_back(SAVED, SlurmJob("7", "PREEMPTED"), 101.0)
    assert not may_come_back(SAVED, SlurmJob("7", "CANCELLED by 0"), 101.0)
    assert not may_come_back(SAVED, None, 100.0 + COMES_BACK_S)
    assert not may_come_back(None, None, 101.0)


def test_an_error_outside_of_the_ranks_fails_the_job_in_one_line():
    mistake, bug = failed_result(UserError("data.lang=xx: no such")), failed_result(KeyError("a"))
    assert (mistake.outcome, mistake.reason) == ("failed", "data.lang=xx: no such")
    assert (bug.outcome, bug.reason) == ("failed", "KeyError: 'a'")
