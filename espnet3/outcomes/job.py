"""How a job that is over ended, from its last attempt and from what Slurm says of it."""

from espnet3.rundir.attempt import Attempt, End
from espnet3.rundir.outcome import Outcome
from espnet3.slurm.queue import SlurmJob

COMES_BACK_S = 30.0
"""So long Slurm may take to show a job again that it has ended to start it anew."""


def may_restart(end: End | None) -> bool:
    """Whether a job that has ended so may be started again by Slurm: preempted, or requeued by somebody."""
    return end is not None and end.outcome == "stopped" and end.reason.startswith("SIGTERM")


def may_come_back(end: End | None, slurm: SlurmJob | None, now: float) -> bool:
    """Whether a job that is not in the queue may be there again in a moment, to start anew.

    Args:
        end: how its last attempt ended.
        slurm: what Slurm says of the job, if it does.
        now: the time.
    """
    is_cancelled = slurm is not None and slurm.state.startswith("CANCELLED")
    return end is not None and may_restart(end) and not is_cancelled and now - end.ended_at < COMES_BACK_S


def job_end(attempt: Attempt | None, slurm: SlurmJob | None) -> End:
    """From what the last attempt wrote and what Slurm says to the end of a job that is over.

    Slurm has the last word where a job was cancelled or killed from outside.
    """
    end = attempt.end if attempt else None
    state = slurm.state if slurm else ""
    if state == "COMPLETED":
        return End("done")
    if state.startswith("CANCELLED"):
        return End("stopped" if end and end.outcome == "stopped" else "killed", "was cancelled")
    if end is not None and not end.restarts:
        return end
    outcome: Outcome = "failed" if state in ("FAILED", "") else "killed"
    return End(outcome, f"ended as {state}" if state else "is gone, and left no word of its end")
