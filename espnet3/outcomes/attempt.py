"""The result of an attempt, from the states of its ranks after their processes have ended."""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from types import MappingProxyType

from espnet3.errors import first_of
from espnet3.outcomes.memory import OUT_OF_MEMORY
from espnet3.outcomes.rank import error_summary
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.outcome import Outcome, TaskState

_NAMED = 4
"""Ranks, and nodes, that a reason names."""
_WORST_FIRST: tuple[Outcome, ...] = ("failed", "killed", "stopped", "done")
_SLURMS = re.compile(r"(srun|slurmstepd)(-\S+)?: ")
_SLURMS_ERROR = re.compile(r"(srun|slurmstepd)(-\S+)?: (error|fatal): ")
_ABOUT_THE_END = re.compile(
    r"\*\*\*|: tasks? [\d,-]+: |Timed out waiting for job step|Job step aborted|forcing job termination"
)
"""Slurm's errors that only say that tasks have ended."""
_OF_HARDWARE = re.compile(
    r"uncorrectable|\bECC error|\bXid\b|fallen off the bus|hardware error|\bNVLink error", re.IGNORECASE
)
"""Errors of a node and its devices, whatever program meets them."""


def attempt_result(
    states: Sequence[TaskState],
    world_size: int,
    *,
    ended: AbstractSet[int] = frozenset(),
    perhaps_ended: AbstractSet[int] = frozenset(),
    stop_reason: str | None = None,
    start_error: str = "",
    nodes: Sequence[str] = (),
    killed_by: Mapping[int, str] = MappingProxyType({}),
) -> AttemptResult:
    """The result of an attempt, for the process that followed it.

    Args:
        states: the states of the ranks that have begun.
        world_size: number of ranks of the attempt.
        ended: ranks that the process has killed after another rank was lost.
        perhaps_ended: ranks that the process has killed unless they were gone before.
        stop_reason: the signal that asked the process to stop, if any.
        start_error: why tasks could not be started, and could not at the next attempt, if no rank had begun.
        nodes: of the attempt, in the order of its ranks, if it has a node to blame.
        killed_by: by what ranks were killed ("SIGKILL"), as far as known.
    """
    if stop_reason is not None and not states:
        return AttemptResult("stopped", stop_reason)  # no rank had begun
    if start_error and not states:
        return AttemptResult("failed", f"can't start its tasks: {start_error}")
    outcome = attempt_outcome(states, world_size, ended)
    failure, killed = first_failure(states), killed_ranks(states, ended)
    if killed and failure_without_lost_peer(states) is None:
        surely = killed_ranks(states, perhaps_ended | ended)
        if failure is not None and not surely:
            return AttemptResult(outcome, _lost_reason(failure), rank=failure.rank, log=failure.log)
        shown = surely or killed
        node = the_only([state.node for state in shown])
        return AttemptResult(
            outcome, _killed_reason(shown, killed_by), rank=shown[0].rank, log=shown[0].log, node=node
        )
    if outcome == "stopped":
        asked_by = next((state.asked_by for state in states if state.asked_by), "")
        return AttemptResult(outcome, stop_reason or asked_by)
    if failure is not None:
        node = failure.node if _OF_HARDWARE.search(failure.message) else ""
        return AttemptResult(outcome, failure_reason(failure), rank=failure.rank, log=failure.log, node=node)
    missing = missing_ranks(states, world_size)
    if outcome == "done" or not missing:
        return AttemptResult(outcome)
    node = the_only([nodes[rank * len(nodes) // world_size] for rank in missing] if nodes else [])
    return AttemptResult(outcome, f"rank {missing[0]} ended before it began", rank=missing[0], node=node)


def the_only(nodes: Sequence[str]) -> str:
    """The node, if all are the same; empty if they differ: a cause on several is none of a node."""
    return nodes[0] if len(set(nodes)) == 1 else ""


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
        error: the exception in that process; None: a second Ctrl-C.
    """
    return AttemptResult("killed", "a second Ctrl-C" if error is None else error_summary(error))


def attempt_outcome(
    states: Sequence[TaskState], world_size: int, ended: AbstractSet[int] = frozenset()
) -> Outcome:
    """The worst outcome of an attempt's ranks, ignoring ranks in `ended` that have no outcome.

    Ranks that failed only because they lost a peer don't count if that peer was killed.
    """
    outcomes = {state.outcome for state in states}
    if killed_ranks(states, ended) or set(missing_ranks(states, world_size)) - ended:
        outcomes.add("killed")
    if "killed" in outcomes and failure_without_lost_peer(states) is None:
        return "killed"
    return next((outcome for outcome in _WORST_FIRST if outcome in outcomes), "killed")


def first_failure(states: Sequence[TaskState]) -> TaskState | None:
    """The rank that failed first; ranks that failed because they lost a peer count only if no other did."""
    failed = [state for state in states if state.outcome == "failed"]
    causes = [state for state in failed if not state.peer_lost]
    return min(causes or failed, key=lambda state: state.ended_at or 0.0, default=None)


def failure_without_lost_peer(states: Sequence[TaskState]) -> TaskState | None:
    """The rank that failed first, not counting ranks that failed because they lost a peer."""
    failure = first_failure(states)
    return None if failure is None or failure.peer_lost else failure


def killed_ranks(states: Sequence[TaskState], ended: AbstractSet[int] = frozenset()) -> list[TaskState]:
    """Ranks that began and wrote no outcome, except those in `ended`."""
    return [state for state in states if state.outcome is None and state.rank not in ended]


def missing_ranks(states: Sequence[TaskState], world_size: int) -> list[int]:
    """Ranks that never began."""
    return sorted(set(range(world_size)) - {state.rank for state in states})


def failure_reason(failure: TaskState) -> str:
    """Why an attempt failed, in one line: the rank and its error; all ranks diverge together."""
    return failure.message if failure.diverged else f"rank {failure.rank}: {failure.message}"


def launch_cause(lines: Sequence[str]) -> str:
    """Why ranks ended before they began, or were killed, from what srun and they have printed; may be empty.

    What says that memory ran out; else the first error of Slurm's that is not about the end itself; else what
    a rank has printed last.
    """
    texts = [line.strip() for line in lines if line.strip()]
    if memory := [text for text in texts if OUT_OF_MEMORY.search(text)]:
        return _SLURMS_ERROR.sub("", memory[0])
    errors = [text for text in texts if _SLURMS_ERROR.match(text)]
    causes = [text for text in errors if not _ABOUT_THE_END.search(text)]
    printed = [text for text in texts if not _SLURMS.match(text)]
    found = causes[:1] or printed[-1:] or errors[:1]
    return _SLURMS_ERROR.sub("", found[0]) if found else ""


def with_cause(result: AttemptResult, lines: Sequence[str]) -> AttemptResult:
    """`result` with the `launch_cause` in `lines` appended to its reason, if it says more."""
    cause = launch_cause(lines)
    says_more = cause and not (cause.endswith(": Killed") and "killed" in result.reason)
    return replace(result, reason=f"{result.reason}: {cause}") if says_more else result


def _lost_reason(failure: TaskState) -> str:
    node = f" on {failure.node}" if failure.node else ""
    return f"rank {failure.rank}{node} lost the connection to another rank: {failure.message}"


def _killed_reason(killed: Sequence[TaskState], killed_by: Mapping[int, str]) -> str:
    ranks = first_of((str(state.rank) for state in killed), _NAMED)
    nodes = first_of(sorted({state.node for state in killed if state.node}), _NAMED)
    causes = ", ".join(sorted({by for state in killed if (by := killed_by.get(state.rank))}))
    said = f"ranks {ranks} were killed" if len(killed) > 1 else f"rank {ranks} was killed"
    return said + (f" on {nodes}" if nodes else "") + (f" by {causes}" if causes else "")
