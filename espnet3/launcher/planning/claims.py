"""Hold a directory for this process: a shared one is waited for, a run directory is not."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet3.errors import UserError, cannot_write
from espnet3.rundir import claim
from espnet3.terminal.screen import Screen

_ORPHANS_END_S = 60.0


@contextmanager
def hold_directory(directory: Path, screen: Screen, *, wait: bool) -> Iterator[None]:
    """Hold `directory`: a shared one is waited for, the run directory is not.

    Raises:
        UserError: when somebody else holds the run directory, or it can't be written.
    """
    shown = ""
    deadline = time.monotonic() + _ORPHANS_END_S
    while True:
        context = claim.hold(directory)
        try:
            context.__enter__()
            break
        except claim.HeldError as error:
            if not wait and not (error.orphaned and time.monotonic() < deadline):
                raise UserError(
                    f"{error}; wait for it, or give tag=NAME for a run directory of its own"
                ) from error
            if str(error) != shown:
                shown = str(error)
                screen.line(f"waiting: {shown}")
            time.sleep(0.2)
        except OSError as error:
            raise cannot_write(error, directory) from error
    try:
        yield
    finally:
        context.__exit__(None, None, None)
