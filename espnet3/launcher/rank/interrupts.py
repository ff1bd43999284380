"""Signals that reach the process which watches a stage: one asks it to stop, a further Ctrl-C ends it."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any

from espnet3.rundir.stop import StopFlag

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Also those that people have Slurm send ahead of a time limit: `sbatch --signal=B:USR1@60`."""


class SecondInterrupt(Exception):
    """A second Ctrl-C: end at once."""


class StopSignals:
    """While entered, the first signal (Ctrl-C, SIGTERM, …) sets `stop`; a further Ctrl-C raises.

    Other further signals do nothing: Slurm sends several, and the tasks need their time to save. With
    `insistent=False` nor does Ctrl-C: a job on a node waits for its tasks, whatever is sent. What is entered
    around another, for several stages, hears of it, too; and what is entered within one that was asked to
    stop has been asked. Signals that were blocked (`block`) come when they are handled.
    """

    def __init__(self, *, insistent: bool = True) -> None:
        self.stop = StopFlag()
        self._insistent = insistent
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._handle) for number in STOP_SIGNALS}
        around = self._around(signal.SIGTERM)
        if around is not None and around.stop.reason is not None:
            self.stop.set(around.stop.reason)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, old in self._before.items():
            signal.signal(number, old)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        around = self._around(number)
        if around is not None:
            around._handle(number, frame)
        if self.stop.is_set():
            if self._insistent and number == signal.SIGINT:
                raise SecondInterrupt
            return
        self.stop.set(signal.Signals(number).name)
        if self._insistent:
            os.write(2, b"\nstopping: the stage saves and ends; Ctrl-C once more ends at once\n")

    def _around(self, number: int) -> "StopSignals | None":
        around = getattr(self._before[number], "__self__", None)
        return around if isinstance(around, StopSignals) else None


def block() -> None:
    """Have signals wait, for a process that is about to start and can't handle them yet."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
