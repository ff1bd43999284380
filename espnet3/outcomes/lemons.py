"""Nodes on which attempts keep dying (lemons): pure functions of the results of attempts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from espnet3.number_text import counted
from espnet3.outcomes.memory import ran_out_of_memory
from espnet3.rundir.records.attempt import AttemptResult

ENDS = 2
"""So many ends of attempts make a node a lemon."""
FORGOTTEN_AFTER_S = 24 * 3600.0
LARGEST_SHARE = 1 / 4
"""Of a partition that may be left out, but always one node."""


@dataclass(frozen=True)
class Lemon:
    """A node, and what was seen there."""

    node: str
    ends: int
    reason: str
    """Of the last one."""

    def __str__(self) -> str:
        return f"{self.node}, which has ended {counted(self.ends, 'attempt')}, the last one as {self.reason}"


def blames(results: Iterable[AttemptResult | None], now: float) -> dict[str, list[AttemptResult]]:
    """Node -> the results for which it is to blame, in their order; without those that are forgotten.

    Args:
        results: of attempts of a run, or of all trials of a sweep.
        now: in seconds since the epoch.
    """
    found: dict[str, list[AttemptResult]] = {}
    for result in results:
        if result is None or not result.node or ran_out_of_memory(result):
            continue
        if now - result.ended_at < FORGOTTEN_AFTER_S:
            found.setdefault(result.node, []).append(result)
    return found


def lemons(results: Iterable[AttemptResult | None], now: float) -> list[Lemon]:
    """The nodes that are to blame for ENDS or more of `results`, the worst first; see `blames`."""
    by_node = {
        node: sorted(ends, key=lambda end: end.ended_at) for node, ends in blames(results, now).items()
    }
    found = [
        Lemon(node, len(ends), ends[-1].reason) for node, ends in sorted(by_node.items()) if len(ends) >= ENDS
    ]
    return sorted(found, key=lambda lemon: -lemon.ends)


def left_out(found: Sequence[Lemon], *, partition_nodes: int, needed: int) -> list[Lemon]:
    """Those of the lemons that a job does not get: at most a share of its partition.

    Args:
        found: the worst first.
        partition_nodes: how many nodes the partition has.
        needed: how many the job asks for.
    """
    share = max(1, int(partition_nodes * LARGEST_SHARE))
    return list(found[: max(0, min(share, partition_nodes - needed))])
