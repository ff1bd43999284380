"""Import large libraries in less time: without the garbage collector, which goes through them repeatedly."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """While entered, no garbage is collected; what exists at the end is not looked through ever after.

    A fifth of the time in which torch and Lightning are imported is spent in looking for garbage, and each
    full look later on, in the midst of a training, takes a fifth of a second. What modules hold stays anyway.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
