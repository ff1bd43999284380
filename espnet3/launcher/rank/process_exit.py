"""The end of a process that has imported large libraries: as Python's own, but without taking them apart."""

import atexit
import ctypes
import gc
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn


def exit_after(run: Callable[[], None]) -> NoReturn:
    """Call `run` and end this process with the exit code that Python would end it with."""
    try:
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End this process: modules are not destroyed, which takes a fourth of the CPU time of importing them.

    Threads are waited for, what was registered for the exit is called, and files left open are complete.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing does in its children
    atexit._run_exitfuncs()
    gc.unfreeze()
    for kept in gc.get_objects():
        if issubclass(type(kept), io.BufferedWriter | io.TextIOWrapper) and not kept.closed:
            with suppress(OSError, ValueError):
                kept.flush()
    ctypes.CDLL(None).fflush(None)  # what C libraries print
    os._exit(code)
