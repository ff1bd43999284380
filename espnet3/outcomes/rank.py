"""How a rank ended: from what its stage raised, or from a request to stop that it did not follow in time."""

import traceback
from dataclasses import replace

from espnet3.errors import UserError
from espnet3.outcomes.lost_peer import is_lost_peer
from espnet3.rundir.records.outcome import TaskState
from espnet3.rundir.stop import Stopped


def rank_state(
    begun: TaskState, error: BaseException | None, *, now: float, world_size: int = 1, asked_by: str = ""
) -> TaskState:
    """The state of a rank whose stage is over.

    Args:
        begun: its state when it began.
        error: what the stage raised; None where it returned.
        now: the time, in seconds since the epoch.
        world_size: how many ranks there are.
        asked_by: the signal that asked it to stop, if one did.
    """
    if error is None:
        return replace(begun, outcome="done", ended_at=now)
    if isinstance(error, Stopped):
        message = str(error) or asked_by
        return replace(begun, outcome="stopped", message=message, asked_by=asked_by, ended_at=now)
    if isinstance(error, UserError):
        return replace(begun, outcome="failed", message=str(error), ended_at=now)
    return replace(
        begun,
        outcome="failed",
        message=error_summary(error),
        traceback="".join(traceback.format_exception(error)),
        peer_lost=world_size > 1 and is_lost_peer(error),
        ended_at=getattr(error, "raised_at", now),
    )


def unsaved_state(begun: TaskState, *, within_s: float, asked_by: str, now: float) -> TaskState:
    """The state of a rank that was asked to stop, and is ended because it has not saved `within_s` later."""
    message = f"did not save within {within_s:.0f} s"
    return replace(begun, outcome="stopped", message=message, asked_by=asked_by, ended_at=now)


def error_summary(error: BaseException) -> str:
    """An exception in one line: its type and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
