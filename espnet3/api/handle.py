"""What the handles of a run and of a sweep have in common: a directory that is waited for."""

import time
from abc import ABC, abstractmethod
from pathlib import Path

from espnet3.errors import short_path
from espnet3.launcher.follow.jobs import QUEUE_EVERY_S
from espnet3.rundir.records.background import read_background

_NEW_S = 60.0


class Handle(ABC):
    """A run or a sweep that goes on without this process; all that it knows is read from its directory.

    Args:
        directory: the run directory, or the sweep.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory).resolve()

    @abstractmethod
    def cancel(self) -> None:
        """End it; what runs saves first."""

    @abstractmethod
    def resume(self) -> None:
        """Run what of it is not done."""

    @abstractmethod
    def _is_under_way(self) -> bool:
        """Whether something of it waits or runs; asks Slurm once, if there are jobs."""

    def _wait(self, timeout_s: float | None) -> None:
        began = time.monotonic()
        while self._is_in_background() or self._is_under_way():
            waited = time.monotonic() - began
            if timeout_s is not None and waited >= timeout_s:
                raise TimeoutError(f"{short_path(self.directory)} is under way after {timeout_s:g} s")
            pause = QUEUE_EVERY_S[0 if waited < _NEW_S else 1]
            time.sleep(pause if timeout_s is None else min(pause, timeout_s - waited))

    def _is_in_background(self) -> bool:
        background = read_background(self.directory)
        return background is not None and background.is_alive

    def __repr__(self) -> str:
        return f"{type(self).__name__}({short_path(self.directory)})"
