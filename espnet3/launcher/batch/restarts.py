"""When a job starts again: a pure function of how its attempts ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from espnet3.launcher.rank.interrupts import TIME_LIMIT
from espnet3.rundir.attempt import Attempt, End

After = Literal["exit", "requeue", "wait"]


@dataclass(frozen=True)
class RestartDecision:
    """What a job does when the tasks of an attempt are gone."""

    after: After
    """exit: with the outcome's exit code; requeue: start again; wait: Slurm is about to end the job, and
    decides itself whether it starts again."""
    reason: str = ""


def decide_restart(end: End, *, without_progress: int, max_restarts: int) -> RestartDecision:
    """What follows on `end`.

    Args:
        end: how the attempt ended.
        without_progress: how many attempts in a row, this one included, left no newer checkpoint.
        max_restarts: how many may.
    """
    if end.outcome == "stopped" and end.reason != TIME_LIMIT:
        # SIGTERM: preempted or cancelled. What was cancelled stays cancelled: nothing is requeued here.
        return RestartDecision("wait")
    if end.outcome in ("done", "failed"):
        return RestartDecision("exit")
    if without_progress > max_restarts:
        tries = f"{without_progress} attempts in a row" if without_progress > 1 else "the attempt"
        return RestartDecision("exit", f"{tries} left no newer checkpoint, and max_restarts={max_restarts}")
    return RestartDecision("requeue", "time limit" if end.outcome == "stopped" else end.reason)


def attempts_without_progress(
    attempts: Sequence[Attempt], progress: str, preempted: Sequence[int] = ()
) -> int:
    """How many of the last attempts in a row left no newer checkpoint; those that were preempted don't count.

    Args:
        attempts: of one stage of one job, in the order they began.
        progress: `progress_mark` of now.
        preempted: numbers of attempts that Slurm ended to make room for others.
    """
    count, after = 0, progress
    for attempt in reversed(attempts):
        is_done = attempt.end is not None and attempt.end.outcome == "done"
        if is_done or attempt.begin.progress != after:
            break
        count += attempt.begin.number not in preempted
        after = attempt.begin.progress
    return count
