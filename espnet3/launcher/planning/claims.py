"""Hold a directory for this process, with or without waiting for its current holder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

from espnet3.errors import UserError, cannot_write
from espnet3.rundir import claim
from espnet3.rundir.files.writable import folder_problem
from espnet3.terminal.screen import Screen

_ORPHANS_END_S = 60.0
"""How long tasks whose command is gone may take to end."""


@contextmanager
def hold_directory(directory: Path, screen: Screen, *, wait: bool) -> Iterator[None]:
    """Hold `directory` while the block runs; `wait` for another process that holds it, instead of failing.

    Raises:
        UserError: another process holds it (without `wait`), or it can't be written.
    """
    last_message = ""
    deadline = time.monotonic() + _ORPHANS_END_S
    while True:
        context = claim.hold(directory)
        try:
            context.__enter__()
            break
        except claim.HeldError as error:
            if not wait and not (error.orphaned and time.monotonic() < deadline):
                raise _in_use(error, directory) from error
            if str(error) != last_message:
                last_message = str(error)
                screen.line(f"waiting: {last_message}")
            time.sleep(0.2)
        except OSError as error:
            check_writable(directory)
            raise cannot_write(error, directory) from error
    try:
        yield
    finally:
        context.__exit__(None, None, None)


@contextmanager
def hold_for_command(directory: Path, screen: Screen) -> Iterator[None]:
    """Hold the directory of a run or sweep; if the command is refused, remove the directories made for it.

    Raises:
        UserError: another process holds it, or it can't be written.
    """
    above = (directory, directory.parent, directory.parent.parent)
    new = [folder for folder in above if not folder.exists()]
    try:
        with hold_directory(directory, screen, wait=False):
            yield
    except UserError:
        for empty in filter(Path.exists, new):
            with suppress(OSError):  # there is something in it
                empty.rmdir()
        raise


def check_free(directory: Path) -> None:
    """Check that this process could hold `directory` now; writes nothing.

    Raises:
        UserError: another process holds it, or it can't be written.
    """
    check_writable(directory)
    try:
        claim.check_free(directory)
    except claim.HeldError as error:
        if not error.orphaned:  # what is left of a dead command ends soon
            raise _in_use(error, directory) from error


def check_writable(directory: Path) -> None:
    """Check that `directory` could be made and filled; writes nothing.

    Raises:
        UserError: it could not.
    """
    if problem := folder_problem(directory):
        raise UserError(f"can't write {directory}: {problem}: give a new folder")


def _in_use(error: claim.HeldError, directory: Path) -> UserError:
    gone = (
        f"; if that process is gone, `espnet3 release {quote(str(directory))}` frees it"
        if error.uncertain
        else ""
    )
    return UserError(f"{error}; wait for it, or give tag=NAME for a run directory of its own{gone}")
