"""Finds that an attempt hangs, from what the watchers of its ranks write, for the process that follows it."""

import time
from pathlib import Path

from espnet3.outcomes.hang import Hang, find_hang, hang_text
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.layout import heartbeat_path
from espnet3.rundir.records.outcome import read_task_states
from espnet3.rundir.records.stall import Stall, read_stalls

SILENT_S = 30.0
"""How long a watcher may say nothing while all others say that their ranks stand still."""


class HangCheck:
    """Looks at one attempt again and again."""

    def __init__(self, directory: Path, world_size: int) -> None:
        self._directory, self._world_size = directory, world_size
        self._heard: dict[int, tuple[bytes, float]] = {}
        """Rank without a description -> its heartbeat, and when that was first seen."""
        self.stalls: list[Stall] = []

    def find(self) -> Hang | None:
        """The hang, if no rank moves for as long as it may."""
        self.stalls = read_stalls(self._directory)
        if not self.stalls:
            self._heard = {}
            return None
        states = {state.rank: state for state in read_task_states(self._directory)}
        stalled = {stall.rank for stall in self.stalls}
        silent = {}
        for rank in set(range(self._world_size)) - stalled:
            state = states.get(rank)
            if state is None or state.outcome is not None:
                continue
            if self._is_heard(rank):
                return None
            silent[rank] = state.node
        return find_hang(self.stalls, silent)

    def _is_heard(self, rank: int) -> bool:
        """Whether the rank's heartbeat has moved lately; by this process's clock."""
        now, (said, since) = time.monotonic(), self._heard.get(rank, (b"", 0.0))
        try:
            says = heartbeat_path(self._directory, rank).read_bytes()
        except OSError:
            says = b"none"
        if says != said:
            self._heard[rank] = says, now
            return True
        least_s = min(stall.still_s for stall in self.stalls)
        return now - since < max(SILENT_S, least_s)

    def write(self, hang: Hang, path: Path) -> None:
        """Write all that is known of it to `path`."""
        write_text(path, hang_text(hang, self.stalls) + "\n")
