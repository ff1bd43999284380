"""Reading files and folders: what is missing is told apart from what can't be read.

A file that can't be read now (permissions, a failing disk, a server that is away) may hold anything. To take
it for missing would do work again, or submit a job a second time.
"""

import errno
import fnmatch
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from espnet3.errors import UserError, short_path

T = TypeVar("T")
LATE_FILES_S = 90.0
"""How long in s what another host has written may take to be seen: attribute caches of NFS hold for 60 s."""
_LOOK_EVERY_S = 0.2
_MISSING = (errno.ENOENT, errno.ENOTDIR)


def read_text(path: Path) -> str:
    """The text of `path`, in UTF-8.

    Raises:
        FileNotFoundError: there is none.
        UserError: it can't be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    try:
        return _read(path).decode("utf-8")
    except OSError as error:
        if error.errno in _MISSING:
            raise FileNotFoundError(*error.args) from error
        raise cannot_read(error, path) from error


def files_in(folder: Path, pattern: str = "*") -> list[Path]:
    """The entries of `folder` whose names match `pattern`, in order; none if there is no such folder.

    `Path.glob` gives nothing for a folder that can't be read.

    Raises:
        UserError: the folder can't be read.
    """
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        if error.errno in _MISSING:
            return []
        raise cannot_read(error, folder) from error
    return sorted(path for path in paths if fnmatch.fnmatchcase(path.name, pattern))


def read_late(read: Callable[[], T], folder: Path, *, within_s: float | None = None) -> T:
    """The result of `read`, which is repeated while it is None, False or empty: files may be seen late.

    Args:
        read: reads files that must be there, or soon will be.
        folder: where they are; it is listed before each further try, which renews what NFS knows of it.
        within_s: seconds after which the last result is returned; by default LATE_FILES_S.
    """
    deadline = time.monotonic() + (LATE_FILES_S if within_s is None else within_s)
    while not (found := read()) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
        with suppress(OSError):
            next(folder.iterdir(), None)
    return found


def cannot_read(error: OSError, path: Path) -> UserError:
    """UserError for a file or folder that can't be read."""
    return UserError(f"can't read {short_path(error.filename or path)}: {error.strerror or error}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE:  # NFS: the file was replaced while it was opened
            raise
    return path.read_bytes()
