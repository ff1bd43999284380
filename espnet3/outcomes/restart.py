"""When a job starts again: pure functions of how its attempts ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from espnet3.outcomes.exit_code import exit_code
from espnet3.outcomes.job import may_restart
from espnet3.rundir.records.attempt import Attempt, AttemptResult
from espnet3.rundir.stop import TIME_LIMIT

After = Literal["exit", "requeue", "wait"]


@dataclass(frozen=True)
class RestartDecision:
    """How a job ended, and what its batch process does then."""

    result: AttemptResult | None
    """None: another job in Slurm does its work."""
    after: After = "exit"
    """exit: with the outcome's exit code; requeue: start again; wait: Slurm is about to end the job, and
    decides itself whether it starts again."""
    reason: str = ""
    """Why it starts again, or why not."""

    @property
    def exit_code(self) -> int:
        """What the batch process ends with, if it does."""
        return exit_code(self.result) if self.result is not None else 0


def decide_restart(
    result: AttemptResult, *, without_progress: int = 0, max_restarts: int = 0
) -> RestartDecision:
    """What follows on `result`.

    Args:
        result: how the attempt ended.
        without_progress: how many attempts in a row, this one included, left no newer checkpoint.
        max_restarts: how many may.
    """
    if result.outcome == "stopped" and result.reason != TIME_LIMIT:
        # SIGTERM: preempted or cancelled. What was cancelled stays cancelled: nothing is requeued here.
        return RestartDecision(result, "wait")
    if result.outcome in ("done", "failed"):
        return RestartDecision(result)
    if without_progress > max_restarts:
        tries = f"{without_progress} attempts in a row" if without_progress > 1 else "the attempt"
        reason = f"{tries} left no newer checkpoint, and max_restarts={max_restarts}"
        return RestartDecision(result, "exit", reason)
    return RestartDecision(result, "requeue", "time limit" if result.outcome == "stopped" else result.reason)


def decide_unended(decision: RestartDecision) -> RestartDecision:
    """What follows on a decision to wait, where Slurm does not end the job after all."""
    assert decision.result is not None
    if may_restart(decision.result):
        reason = "Slurm does not end this job, whoever sent its tasks the signal"
        return RestartDecision(decision.result, "requeue", reason)
    # SIGINT, SIGUSR1: nobody but a person sends these
    return RestartDecision(decision.result, "exit", f"it was asked to stop by {decision.result.reason}")


def restarts_in_place(decision: RestartDecision) -> bool:
    """Whether a run is run again within its job, which does several: a rank was killed, and there is time."""
    return decision.after == "requeue" and decision.result is not None and decision.result.outcome == "killed"


def result_without_progress(stage: str, *, without_progress: int, max_restarts: int) -> AttemptResult | None:
    """The result of a job that starts again after too many attempts; None where it may make another."""
    if without_progress <= max_restarts:
        return None
    limit = f"resources.{stage}.max_restarts={max_restarts}"
    return AttemptResult(
        "killed", f"{without_progress} attempts in a row left no newer checkpoint, and {limit}"
    )


def with_reason(result: AttemptResult, reason: str) -> AttemptResult:
    """`result`, which says as well why its job does not start again."""
    return replace(result, reason="; ".join(dict.fromkeys(filter(None, (result.reason, reason)))))


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
        is_done = attempt.result is not None and attempt.result.outcome == "done"
        if is_done or attempt.begin.progress != after:
            break
        count += attempt.begin.number not in preempted
        after = attempt.begin.progress
    return count


def perhaps_preempted(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Those that SIGTERM ended, and those without a result: Slurm knows whether it preempted them."""
    return [one for one in attempts if one.result is None or one.result.reason == "SIGTERM"]


def preempted_attempts(attempts: Sequence[Attempt], state_by_start: Mapping[int, str]) -> list[int]:
    """Numbers of the attempts that Slurm ended, as far as can be known, to make room for others.

    Args:
        attempts: see `perhaps_preempted`.
        state_by_start: Slurm's state of each start of the job; of one that is not there, it may have been.
    """
    return [one.begin.number for one in attempts if state_by_start.get(_start_of(one)) in (None, "PREEMPTED")]


def _start_of(attempt: Attempt) -> int:
    """In which start of its job an attempt was made; the first is 0."""
    return int(attempt.launcher.slurm_job.rpartition(".")[2] or 0)
