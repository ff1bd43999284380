"""Signals to the process that watches a stage: the first asks it to stop, a further Ctrl-C ends it."""

import os
import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from espnet3.rundir.stop import StopFlag

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Includes those that `sbatch --signal=B:USR1@60` sends ahead of a time limit."""


class SecondInterrupt(Exception):
    """A second Ctrl-C: end at once."""


class StopSignals:
    """While entered, the first signal (Ctrl-C, SIGTERM, …) sets `stop`; a further Ctrl-C raises.

    Other further signals do nothing: Slurm sends several, and the tasks need time to save. With
    `second_ctrl_c_raises=False` a further Ctrl-C does nothing either: a job on a node waits for its tasks.
    Nested contexts share the request: a signal also sets `stop` of the enclosing context, and a context
    entered within one whose `stop` is set starts with it set. Entering unblocks signals (see `block`).
    """

    def __init__(self, *, second_ctrl_c_raises: bool = True) -> None:
        self.stop = StopFlag()
        self._second_ctrl_c_raises = second_ctrl_c_raises
        self._old_handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self._old_handlers = {number: signal.signal(number, self._handle) for number in STOP_SIGNALS}
        enclosing = self._enclosing(signal.SIGTERM)
        if enclosing is not None and enclosing.stop.reason is not None:
            self.stop.set(enclosing.stop.reason)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, old in self._old_handlers.items():
            signal.signal(number, old)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        enclosing = self._enclosing(number)
        if enclosing is not None:
            enclosing._handle(number, frame)
        if self.stop.is_set():
            if self._second_ctrl_c_raises and number == signal.SIGINT:
                raise SecondInterrupt
            return
        self.stop.set(signal.Signals(number).name)
        if self._second_ctrl_c_raises:
            with suppress(OSError):  # Ctrl-C ends what reads our output, too
                os.write(2, b"\nstopping: the stage saves and ends; Ctrl-C once more ends at once\n")

    def _enclosing(self, number: int) -> "StopSignals | None":
        enclosing = getattr(self._old_handlers[number], "__self__", None)
        return enclosing if isinstance(enclosing, StopSignals) else None


def block() -> None:
    """Block the signals in a process that has no handlers yet; they are delivered when unblocked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
