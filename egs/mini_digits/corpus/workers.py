"""Initialize a worker process: ignore signals that ask to stop, and end with the parent."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def init_worker(parent: int) -> None:
    """Ignore the signals that ask to stop, and be killed when process `parent` ends, however it ends.

    Ctrl-C and Slurm's signals reach the whole process group; the parent decides what they mean. A parent
    that is killed cannot end its workers, which would wait for work for ever.
    """
    for stop_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(stop_signal, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
