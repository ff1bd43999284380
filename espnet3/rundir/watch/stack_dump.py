"""Python stacks of a process that hangs, written on a signal: also where the interpreter is stuck in C code.

The handler is C code of Python's faulthandler and needs neither the interpreter nor its lock.
"""

import faulthandler
import os
import signal
from pathlib import Path

SIGNAL = signal.SIGRTMIN + 7
"""Nothing else uses it; it ends a process that has not called `dump_on_signal`."""
PATH_VARIABLE = "ESPNET3_STACKS"
"""Names the file to processes that a rank starts."""

_files: list[int] = []
"""Kept open: what is written to when the signal comes."""


def dump_on_signal(path: Path) -> None:
    """Have this process, and those forked from it, append the stacks of all threads to `path` on SIGNAL."""
    _files.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644))
    faulthandler.register(SIGNAL, file=_files[-1], all_threads=True)
    os.environ[PATH_VARIABLE] = str(path)


def dump_as_parent() -> None:
    """As `dump_on_signal`, to the file of the rank that has started this process, if it has one."""
    if path := os.environ.get(PATH_VARIABLE):
        dump_on_signal(Path(path))


def can_dump(pid: int) -> bool:
    """Whether the process dumps its stacks on SIGNAL, which would end it otherwise."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", errors="replace")
    except OSError:
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (int(SIGNAL) - 1) & 1)
