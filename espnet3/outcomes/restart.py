"""Whether a job restarts: pure functions of the results of its attempts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from espnet3.outcomes.exit_code import exit_code
from espnet3.outcomes.job import may_restart
from espnet3.outcomes.next_start import NextStart
from espnet3.rundir.records.attempt import Attempt, AttemptResult
from espnet3.rundir.stop import TIME_LIMIT
from espnet3.slurm.restarting.job_change import NO_CHANGE, JobChange

After = Literal["exit", "restart", "requeue", "wait"]


@dataclass(frozen=True)
class RestartDecision:
    """The result of a job, and what its batch process does next."""

    result: AttemptResult | None
    """None: a duplicate of another job in Slurm, which runs the stages."""
    after: After = "exit"
    """exit: with the outcome's exit code; restart: at once, on its nodes; requeue: Slurm queues the job
    again; wait: Slurm is about to end the job and decides whether it restarts."""
    reason: str = ""
    """Why it restarts, or why not."""
    change: JobChange = NO_CHANGE
    """What it asks for otherwise when Slurm starts it again."""

    @property
    def restarts(self) -> bool:
        """Whether the job runs again by itself."""
        return self.after in ("restart", "requeue")

    @property
    def exit_code(self) -> int:
        """The exit code of the batch process, if it exits."""
        return exit_code(self.result) if self.result is not None else 0


def decide_restart(
    result: AttemptResult, *, all_began: bool = True, without_progress: int = 0, max_restarts: int = 0
) -> RestartDecision:
    """Whether the job restarts after `result`, and whether it keeps its nodes.

    Args:
        result: of the attempt.
        all_began: whether each of its ranks had begun; if not, a node may be broken, and Slurm shall choose.
        without_progress: how many attempts in a row, this one included, left no newer checkpoint.
        max_restarts: how many such attempts are allowed.
    """
    if result.outcome == "stopped" and result.reason != TIME_LIMIT:
        # SIGTERM: preempted or cancelled. Only Slurm knows which; a cancelled job must not be requeued.
        return RestartDecision(result, "wait")
    if result.outcome in ("done", "failed"):
        return RestartDecision(result)
    if without_progress > max_restarts:
        tries = f"{without_progress} attempts in a row" if without_progress > 1 else "the attempt"
        reason = f"{tries} left no newer checkpoint, and max_restarts={max_restarts}"
        return RestartDecision(result, "exit", reason)
    if result.outcome == "stopped":
        return RestartDecision(result, "requeue", "time limit")
    return RestartDecision(result, "restart" if all_began else "requeue", result.reason)


def with_next_start(decision: RestartDecision, start: NextStart) -> RestartDecision:
    """`decision` with the request of the next start; the job leaves its nodes if it can't go on with them."""
    if not decision.restarts:
        return decision
    after: After = "requeue" if start.leaves else decision.after
    reason = "; ".join(filter(None, (decision.reason, start.leaves)))
    return replace(decision, after=after, reason=reason, change=start.change)


def decide_unended(decision: RestartDecision) -> RestartDecision:
    """The decision after waiting, if Slurm has not ended the job."""
    assert decision.result is not None
    if may_restart(decision.result):
        reason = "Slurm does not end this job, whoever sent its tasks the signal"
        return RestartDecision(decision.result, "requeue", reason)
    # SIGINT, SIGUSR1: sent by a person
    return RestartDecision(decision.result, "exit", f"it was asked to stop by {decision.result.reason}")


def result_without_progress(stage: str, *, without_progress: int, max_restarts: int) -> AttemptResult | None:
    """The result of a job that has restarted without progress too often; None if it may run once more."""
    if without_progress <= max_restarts:
        return None
    limit = f"resources.{stage}.max_restarts={max_restarts}"
    return AttemptResult(
        "killed", f"{without_progress} attempts in a row left no newer checkpoint, and {limit}"
    )


def with_reason(result: AttemptResult, reason: str) -> AttemptResult:
    """`result` with the reason why its job does not restart appended."""
    return replace(result, reason="; ".join(dict.fromkeys(filter(None, (result.reason, reason)))))


def attempts_without_progress(
    attempts: Sequence[Attempt], progress: str, preempted: Sequence[int] = ()
) -> int:
    """How many of the last attempts in a row left no newer checkpoint; preempted ones don't count.

    Args:
        attempts: of one stage of one job, in the order they began.
        progress: the current `progress_mark`.
        preempted: numbers of preempted attempts.
    """
    count, progress_after = 0, progress
    for attempt in reversed(attempts):
        is_done = attempt.result is not None and attempt.result.outcome == "done"
        if is_done or attempt.begin.progress != progress_after:
            break
        count += attempt.begin.number not in preempted
        progress_after = attempt.begin.progress
    return count


def perhaps_preempted(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Attempts that ended by SIGTERM or without a result: Slurm knows whether it preempted them."""
    return [attempt for attempt in attempts if attempt.result is None or attempt.result.reason == "SIGTERM"]


def preempted_attempts(attempts: Sequence[Attempt], state_by_start: Mapping[str, str]) -> list[int]:
    """Numbers of the attempts that Slurm preempted, as far as known.

    Args:
        attempts: see `perhaps_preempted`.
        state_by_start: Slurm's state of each start of the job ("123.0"); a missing start counts as preempted.
    """
    return [
        attempt.begin.number
        for attempt in attempts
        if state_by_start.get(attempt.launcher.slurm_job) in (None, "PREEMPTED")
    ]
