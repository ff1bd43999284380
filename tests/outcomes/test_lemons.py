"""Which node is to blame for the end of an attempt, and which nodes a job no longer gets."""

import pytest

from espnet3.outcomes.attempt import attempt_result
from espnet3.outcomes.lemons import FORGOTTEN_AFTER_S, Lemon, left_out, lemons
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.outcome import TaskState

NODES = ["node1", "node2"]


def state(rank: int, outcome=None, message: str = "", *, peer_lost: bool = False) -> TaskState:
    node = NODES[rank // 2]
    return TaskState(rank, {}, "", node=node, outcome=outcome, message=message, peer_lost=peer_lost)


LOST = "RuntimeError: Connection closed by peer"


@pytest.mark.parametrize(
    ("states", "node"),
    [
        ([state(0), state(1), state(2), state(3, "failed", "ValueError: no")], ""),  # the user's code
        ([state(0, "failed", LOST, peer_lost=True), state(1, "done"), state(2), state(3)], "node2"),
        ([state(0), state(1, "done"), state(2), state(3, "done")], ""),  # on both: by something else
        ([state(rank, "failed", "RuntimeError: CUDA error: uncorrectable ECC error encountered")
          if rank == 2 else state(rank, "failed", LOST, peer_lost=True) for rank in range(4)], "node2"),
        ([state(0, "done"), state(1, "done"), state(3, "done")], "node2"),  # rank 2 never began
        ([], ""),  # none began anywhere
        ([state(rank, "done") for rank in range(4)], ""),
        ([state(rank, "stopped") for rank in range(4)], ""),
    ],
)  # fmt: skip
def test_a_node_is_to_blame_where_a_process_was_ended_or_never_began_and_no_program_failed(
    states: list[TaskState], node: str
):
    assert attempt_result(states, 4, nodes=NODES).node == node


def end(node: str, at: float, reason: str = "rank 1 was killed") -> AttemptResult:
    return AttemptResult("killed", reason, ended_at=at, node=node)


@pytest.mark.parametrize(
    ("results", "found"),
    [
        ([end("a", 1.0)], []),
        ([end("a", 1.0), None, end("b", 2.0), AttemptResult("done")], []),
        ([end("a", 1.0, "first"), end("a", 2.0, "last")], [Lemon("a", 2, "last")]),
        ([end("a", 9.0, "last"), end("a", 2.0, "first")], [Lemon("a", 2, "last")]),
        ([end("a", 1.0), end("a", 2.0), *[end("b", 3.0)] * 3], ["b", "a"]),  # the worst first
        ([end("a", 1.0 - FORGOTTEN_AFTER_S), end("a", 10.0)], []),
        ([end("a", 1.0, "rank 0 was killed: Detected 1 oom_kill event")] * 3, []),  # the job's own memory
        ([end("", 1.0)] * 5, []),
    ],
)
def test_two_ends_within_a_day_make_a_lemon(results, found: list):
    shown = lemons(results, now=10.0)
    assert [one.node if found and isinstance(found[0], str) else one for one in shown] == found


@pytest.mark.parametrize(
    ("partition", "needed", "names"),
    [(0, 1, ""), (1, 1, ""), (2, 1, "a"), (2, 2, ""), (4, 1, "a"), (4, 3, "a"), (4, 4, ""), (8, 2, "ab"),
     (8, 7, "a"), (100, 4, "abc")],
)  # fmt: skip
def test_at_most_a_share_of_the_partition_is_left_out_and_enough_nodes_stay(
    partition: int, needed: int, names: str
):
    found = [Lemon(name, 2, "") for name in "abc"]
    out = left_out(found, partition_nodes=partition, needed=needed)
    assert "".join(one.node for one in out) == names
