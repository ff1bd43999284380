"""How a job that is over ended: from its last attempt and from what Slurm says of it."""

from collections.abc import Sequence

from espnet3.errors import UserError
from espnet3.outcomes.attempt import failure_reason, first_failure
from espnet3.outcomes.rank import error_summary
from espnet3.rundir.attempt import Attempt, End
from espnet3.rundir.outcome import TaskState
from espnet3.slurm.queue import SlurmJob

COMES_BACK_S = 30.0
"""How long Slurm may take to show a job again that it has ended and will restart."""


def may_restart(end: End | None) -> bool:
    """Whether Slurm may restart a job that has ended so: preempted, or requeued by somebody."""
    return end is not None and end.outcome == "stopped" and end.reason.startswith("SIGTERM")


def may_come_back(end: End | None, slurm: SlurmJob | None, now: float) -> bool:
    """Whether a job that is not in the queue may be there again in a moment, to restart.

    Args:
        end: how its last attempt ended.
        slurm: what Slurm says of the job, if it does.
        now: the time, in seconds since the epoch.
    """
    if end is None or not may_restart(end) or (slurm is not None and is_cancelled(slurm)):
        return False
    return now - end.ended_at < COMES_BACK_S


def is_cancelled(slurm: SlurmJob) -> bool:
    """Whether the job was cancelled, by a person or by Slurm."""
    return slurm.state.startswith("CANCELLED")


def job_end(
    attempt: Attempt | None,
    slurm: SlurmJob | None,
    tasks: Sequence[TaskState] = (),
    *,
    has_log: bool = False,
) -> End:
    """The end of a job that is over; Slurm decides where it was cancelled or killed from outside.

    Args:
        attempt: its last attempt, if it made one.
        slurm: what Slurm says of the job; None: it knows nothing of it any more.
        tasks: the states of the ranks of that attempt.
        has_log: whether its batch process had begun.
    """
    end = attempt.end if attempt else None
    if slurm is not None and is_cancelled(slurm):
        return End("stopped" if end and end.outcome == "stopped" else "killed", "was cancelled")
    if slurm is not None and slurm.state == "COMPLETED":
        return End("done")
    if end is not None and not end.restarts:
        return end
    if slurm is not None:
        return End("failed" if slurm.state == "FAILED" else "killed", f"ended as {slurm.state}")
    return _forgotten_end(attempt, tasks, has_log=has_log)


def failed_end(error: Exception) -> End:
    """The end of a job that an error ended outside of its ranks: a user's mistake, or a bug."""
    return End("failed", str(error) if isinstance(error, UserError) else error_summary(error))


def _forgotten_end(attempt: Attempt | None, tasks: Sequence[TaskState], *, has_log: bool) -> End:
    """The end of a job that left no result, and that Slurm knows nothing of."""
    failure = first_failure(tasks)
    if attempt is None and has_log:
        return End("failed", "ended before the stage began")
    if attempt is None or attempt.end is not None:  # never began, or was to restart
        return End("killed", "gone from the queue")
    if failure is not None:
        return End("failed", failure_reason(failure), rank=failure.rank, log=failure.log)
    return End("killed", "ended without a result")
