"""Reading files and folders: what is missing is told apart from what can't be read.

A file that can't be read now (permissions, a failing disk, a server that is away) may hold anything. To take
it for missing would do work again, or submit a job a second time.
"""

import errno
import fnmatch
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from espnet3.errors import UserError, short_path

Content = TypeVar("Content")
LATE_FILES_S = 90.0
"""How long in s what another host has written may take to be seen: attribute caches of NFS hold for 60 s."""
_LOOK_EVERY_S = 0.2


class CantReadError(UserError):
    """A file or folder that is there and can't be read now: what it holds is not known."""


_MISSING = (errno.ENOENT, errno.ENOTDIR)


def if_readable(read: Callable[[], Content], unreadable: list[str]) -> Content | None:
    """What `read` gives; None, and why in `unreadable`, where it can't be read: what is shown may lack it."""
    try:
        return read()
    except CantReadError as error:
        unreadable.append(str(error))
        return None


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


def read_log(path: Path) -> str:
    """The text of a log, whatever it holds; empty if there is none.

    Raises:
        CantReadError: it can't be read.
    """
    try:
        return _read(path).decode("utf-8", errors="replace")
    except OSError as error:
        if error.errno in _MISSING:
            return ""
        raise cannot_read(error, path) from error


def parse_json(text: str) -> Any:
    """The value that `text` is in JSON.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def exists(path: Path) -> bool:
    """Whether there is a file or folder at `path`.

    `Path.exists` is false where it can't be looked for, or raises, as the version of Python has it.

    Raises:
        UserError: a folder above it can't be read.
    """
    try:
        path.stat()
    except OSError as error:
        if error.errno in _MISSING:
            return False
        raise cannot_read(error, path) from error
    except ValueError:  # no file can have this name
        return False
    return True


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


def cannot_read(error: OSError, path: Path) -> CantReadError:
    """The error for a file or folder that can't be read."""
    return CantReadError(f"can't read {short_path(error.filename or path)}: {error.strerror or error}")


def read_late(read: Callable[[], Content], folder: Path, *, within_s: float | None = None) -> Content:
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


def _read(path: Path) -> bytes:
    try:
        return _content(path)
    except OSError as error:
        if error.errno != errno.ESTALE:  # NFS: the file was replaced while it was opened
            raise
    return _content(path)


def _content(path: Path) -> bytes:
    """What a file holds; a FIFO is not waited for, and holds nothing."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        return file.read() or b""
