"""The final state of a rank, from what its stage raised, or after it did not stop in time."""

import traceback
from dataclasses import replace

from espnet3.errors import Diverged, UserError
from espnet3.outcomes.lost_peer import is_lost_peer
from espnet3.rundir.records.outcome import TaskState
from espnet3.rundir.stop import Stopped


def rank_state(
    started: TaskState, error: BaseException | None, *, now: float, world_size: int = 1, asked_by: str = ""
) -> TaskState:
    """The state of a rank whose stage is over.

    Args:
        started: its state when it started.
        error: what the stage raised; None if it returned.
        now: the current time, in seconds since the epoch.
        world_size: number of ranks.
        asked_by: the signal that asked it to stop, if any.
    """
    if error is None:
        return replace(started, outcome="done", ended_at=now)
    if isinstance(error, Stopped):
        message = str(error) or asked_by
        return replace(started, outcome="stopped", message=message, asked_by=asked_by, ended_at=now)
    if isinstance(error, UserError):
        return replace(started, outcome="failed", message=str(error), ended_at=now)
    if isinstance(error, Diverged):
        raised_at = getattr(error, "raised_at", now)
        return replace(started, outcome="failed", message=str(error), diverged=True, ended_at=raised_at)
    return replace(
        started,
        outcome="failed",
        message=error_summary(error),
        traceback="".join(traceback.format_exception(error)),
        peer_lost=world_size > 1 and is_lost_peer(error),
        ended_at=getattr(error, "raised_at", now),
    )


def unsaved_state(started: TaskState, *, within_s: float, asked_by: str, now: float) -> TaskState:
    """The state of a rank that exits because it has not saved within `within_s` of a request to stop."""
    message = f"did not save within {within_s:.0f} s"
    return replace(started, outcome="stopped", message=message, asked_by=asked_by, ended_at=now)


def error_summary(error: BaseException) -> str:
    """An exception in one line: its type and the first line of its message; the next, too, after a colon."""
    first, *more = f"{type(error).__name__}: {error}".splitlines()
    second = next((line.strip() for line in more if line.strip()), "")
    return f"{first} {second}" if second and str(error).strip() and first.endswith(":") else first
