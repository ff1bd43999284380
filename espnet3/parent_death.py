"""Have the kernel signal a child process when its parent is gone, whatever the parent dies of."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
"""Loaded before a fork: a child of a threaded process must not load libraries."""


def signal_on_parent_death(number: signal.Signals, parent: int) -> None:
    """Call it in the child, also between fork and exec (`preexec_fn`).

    Args:
        number: what the child is sent, at once where the parent is gone already.
        parent: pid of the parent.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
