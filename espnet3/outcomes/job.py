"""The result of a job that is over, from its last attempt and Slurm's state."""

from collections.abc import Sequence

from espnet3.errors import UserError
from espnet3.outcomes.attempt import failure_reason, first_failure
from espnet3.outcomes.rank import error_summary
from espnet3.rundir.records.attempt import Attempt, AttemptResult
from espnet3.rundir.records.outcome import TaskState
from espnet3.slurm.queue import SlurmJob

COMES_BACK_S = 30.0
"""How long Slurm may take to list a job again that it has ended and will restart."""


NO_RESULT = "ended without a result, and Slurm says COMPLETED: does `setup` end the script (exit, exec)?"


def may_restart(result: AttemptResult | None) -> bool:
    """Whether Slurm may restart a job with this result: it was preempted or requeued."""
    return result is not None and result.outcome == "stopped" and result.reason.startswith("SIGTERM")


def may_come_back(result: AttemptResult | None, slurm: SlurmJob | None, now: float) -> bool:
    """Whether a job that is not in the queue may soon be there again, to restart.

    Args:
        result: of its last attempt.
        slurm: Slurm's entry of the job, if any.
        now: the current time, in seconds since the epoch.
    """
    if result is None or not may_restart(result) or (slurm is not None and is_cancelled(slurm)):
        return False
    return now - result.ended_at < COMES_BACK_S


def is_cancelled(slurm: SlurmJob) -> bool:
    """Whether the job was cancelled, by a person or by Slurm."""
    return slurm.state.startswith("CANCELLED")


def job_result(
    attempt: Attempt | None,
    slurm: SlurmJob | None,
    tasks: Sequence[TaskState] = (),
    *,
    has_log: bool = False,
    own: AttemptResult | None = None,
) -> AttemptResult:
    """The result of a job that is over; Slurm's state decides if it was cancelled or killed from outside.

    A job is done only if it has written so: for Slurm one whose `setup` ends the script is completed, too.

    Args:
        attempt: its last attempt, if any.
        slurm: Slurm's entry of the job; None: Slurm no longer knows the job.
        tasks: the states of the ranks of that attempt.
        has_log: whether its batch process had begun.
        own: the result that the job has written, if any.
    """
    result = attempt.result if attempt else None
    if slurm is not None and is_cancelled(slurm):
        return AttemptResult(
            "stopped" if result and result.outcome == "stopped" else "killed", "was cancelled"
        )
    for written in (own, result):
        if written is not None and not written.restarts:
            return written
    if slurm is not None and slurm.state == "COMPLETED":
        return AttemptResult("failed", NO_RESULT)
    if slurm is not None:
        return AttemptResult("failed" if slurm.state == "FAILED" else "killed", f"ended as {slurm.state}")
    return _forgotten_result(attempt, tasks, has_log=has_log)


def failed_result(error: Exception) -> AttemptResult:
    """The result of a job that failed outside of its ranks, by a user's mistake or a bug."""
    return AttemptResult("failed", str(error) if isinstance(error, UserError) else error_summary(error))


def _forgotten_result(attempt: Attempt | None, tasks: Sequence[TaskState], *, has_log: bool) -> AttemptResult:
    """The result of a job that wrote none and that Slurm no longer knows."""
    failure = first_failure(tasks)
    if attempt is None and has_log:
        return AttemptResult("failed", "ended before the stage began")
    if attempt is None or attempt.result is not None:  # never began, or was to restart
        return AttemptResult("killed", "gone from the queue")
    if failure is not None:
        return AttemptResult("failed", failure_reason(failure), rank=failure.rank, log=failure.log)
    return AttemptResult("killed", "ended without a result")
