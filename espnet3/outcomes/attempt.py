"""How an attempt ended: from the states of its ranks, when their processes are gone."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from espnet3.outcomes.rank import error_summary
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.outcome import Outcome, TaskState

_WORST_FIRST: tuple[Outcome, ...] = ("failed", "killed", "stopped", "done")


def attempt_result(
    states: Sequence[TaskState],
    world_size: int,
    *,
    ended: AbstractSet[int] = frozenset(),
    stop_reason: str | None = None,
) -> AttemptResult:
    """The result of an attempt, as the process that followed it knows it.

    Args:
        states: of the ranks that have begun.
        world_size: how many there were to be.
        ended: ranks that the process itself has ended, after another one was lost.
        stop_reason: what asked the process to stop, if anything did.
    """
    if stop_reason is not None and not states:
        return AttemptResult("stopped", stop_reason)  # before any rank had begun
    outcome = attempt_outcome(states, world_size, ended)
    failure, killed = first_failure(states), killed_ranks(states, ended)
    if killed and own_failure(states) is None:
        return AttemptResult(outcome, _killed_reason(killed), rank=killed[0].rank, log=killed[0].log)
    if outcome == "stopped":
        asked_by = next((state.asked_by for state in states if state.asked_by), "")
        return AttemptResult(outcome, stop_reason or asked_by)
    if failure is not None:
        return AttemptResult(outcome, failure_reason(failure), rank=failure.rank, log=failure.log)
    missing = missing_ranks(states, world_size)
    if outcome == "done" or not missing:
        return AttemptResult(outcome)
    return AttemptResult(outcome, f"rank {missing[0]} ended before it began", rank=missing[0])


def unwatched_result(states: Sequence[TaskState], world_size: int) -> AttemptResult:
    """The result of an attempt that nobody followed: its reason is the error of a rank, if any."""
    failure = first_failure(states)
    outcome = attempt_outcome(states, world_size)
    if failure is None:
        return AttemptResult(outcome)
    return AttemptResult(outcome, failure_reason(failure), rank=failure.rank, log=failure.log)


def aborted_result(error: BaseException | None = None) -> AttemptResult:
    """The result of an attempt whose ranks were killed by the process that follows them.

    Args:
        error: what that process met; None: a second Ctrl-C.
    """
    return AttemptResult("killed", "a second Ctrl-C" if error is None else error_summary(error))


def attempt_outcome(
    states: Sequence[TaskState], world_size: int, ended: AbstractSet[int] = frozenset()
) -> Outcome:
    """The outcome of an attempt: the worst of its ranks', those in `ended` without one left out.

    Ranks that failed only because another one was gone don't count where that one was killed.
    """
    outcomes = {state.outcome for state in states}
    if killed_ranks(states, ended) or set(missing_ranks(states, world_size)) - ended:
        outcomes.add("killed")
    if "killed" in outcomes and own_failure(states) is None:
        return "killed"
    return next((outcome for outcome in _WORST_FIRST if outcome in outcomes), "killed")


def first_failure(states: Sequence[TaskState]) -> TaskState | None:
    """The rank that failed first: what the others report is often only that it is gone."""
    failed = [state for state in states if state.outcome == "failed"]
    own = [state for state in failed if not state.peer_lost]
    return min(own or failed, key=lambda state: state.ended_at or 0.0, default=None)


def own_failure(states: Sequence[TaskState]) -> TaskState | None:
    """The rank that failed first by an error of its own, not because another rank was gone."""
    failure = first_failure(states)
    return None if failure is None or failure.peer_lost else failure


def killed_ranks(states: Sequence[TaskState], ended: AbstractSet[int] = frozenset()) -> list[TaskState]:
    """Ranks that began, are gone and left no outcome; not those that were `ended` after them."""
    return [state for state in states if state.outcome is None and state.rank not in ended]


def missing_ranks(states: Sequence[TaskState], world_size: int) -> list[int]:
    """Ranks that never began."""
    return sorted(set(range(world_size)) - {state.rank for state in states})


def failure_reason(failure: TaskState) -> str:
    """Why an attempt failed, in one line: the rank and its error."""
    return f"rank {failure.rank}: {failure.message}"


def _killed_reason(killed: Sequence[TaskState]) -> str:
    who = ", ".join(str(state.rank) for state in killed)
    on = ", ".join(sorted({state.node for state in killed if state.node}))
    return f"rank {who} was killed" + (f" on {on}" if on else "")
