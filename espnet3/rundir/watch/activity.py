"""What a rank is in, in memory that its watcher, a process of its own, can read: a few numbers a batch.

Neither a file nor a system call a batch, and it can be read whatever the rank hangs in.
"""

import mmap
from dataclasses import dataclass
from typing import Literal, get_args

Phase = Literal[
    "start", "epoch start", "training", "epoch end", "validation start", "validation", "validation end", "end"
]
PHASES: tuple[Phase, ...] = get_args(Phase)
"""`start`, `epoch start`, `validation start`: up to the end of the first batch; `training`, `validation`:
from the end of one batch to that of the next; the ends: what comes after the last batch."""

_NUMBERS = {phase: number for number, phase in enumerate(PHASES)}
_PHASE, _EPOCH, _BATCH, _LEFT = 0, 1, 2, 3
_WORDS = _LEFT + len(PHASES)


@dataclass(frozen=True)
class Reading:
    """What an activity says at one moment; two that are equal: nothing has moved."""

    phase: Phase
    epoch: int
    batch: int
    """The number of the batch that the rank is in; the first is 1."""
    left: tuple[int, ...]
    """How often each phase of PHASES, or a batch of it, has ended."""


class Activity:
    """Counts the batches of a rank, and says what phase it is in."""

    def __init__(self) -> None:
        self._words: memoryview[int] = memoryview(bytearray(8 * _WORDS)).cast("Q")

    def share(self) -> None:
        """Move it into memory that processes forked from now on read, too."""
        self._words = memoryview(mmap.mmap(-1, 8 * _WORDS)).cast("Q")

    def enter(self, phase: Phase, epoch: int, batch: int) -> None:
        """Something has moved: the rank enters a phase, or the next batch of it.

        Args:
            phase: one of PHASES.
            epoch: from 1.
            batch: of the epoch or validation, from 1.
        """
        words = self._words
        words[_LEFT + words[_PHASE]] += 1
        words[_EPOCH], words[_BATCH], words[_PHASE] = epoch, batch, _NUMBERS[phase]

    def read(self) -> Reading:
        """What it says now."""
        phase, epoch, batch, *left = self._words.tolist()
        return Reading(PHASES[phase], epoch, batch, tuple(left))
