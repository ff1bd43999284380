"""Exceptions whose message is all that a user needs, and helpers for these messages."""

import difflib
import errno
import os
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A mistake of the user: one line with the value, where it was given, and what is expected.

    The command line prints the message without a traceback and exits with 2 before anything has started (a
    stage that raises it later ends as failed, exit code 1).
    """


class Diverged(RuntimeError):
    """A training whose loss, gradients or weights are no longer finite; one line that begins "diverged at".

    It has failed, and would again if it were restarted from its newest checkpoint.
    """


class TracedError(UserError):
    """A mistake in the user's code or data, told by an exception of it, whose traceback is in the log."""

    @property
    def trace(self) -> str:
        """The traceback; empty where there is none."""
        return ""


class ConfigurationError(UserError, AssertionError):
    """A configuration that contradicts itself or the model."""


def one_line(text: object) -> str:
    """`text`, such as another library's exception, in one line."""
    return printable(" ".join(str(text).split()) or type(text).__name__)


def printable(text: object) -> str:
    """`text` with control characters, which could do anything to a terminal, escaped; it keeps its lines."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in str(text)
    )


def message_line(message: object) -> str:
    """A message, as of a UserError, as the one line that a command prints; line ends in it are escaped."""
    return f"espnet3: {printable(message)}".replace("\n", "\\n")


def short_path(path: str | Path) -> str:
    """`path` for a message: relative to the working directory when that is shorter."""
    return min(os.path.relpath(path), str(path), key=len)


def command_path(path: str | Path) -> str:
    """`path` as a word of a command in a message, which people copy into a shell: quoted if need be."""
    return shlex.quote(short_path(path))


def cannot_write(error: OSError, path: str | Path) -> UserError:
    """UserError for a file or folder that can't be written; `path` is used if `error` names none."""
    return UserError(f"can't write {error.filename or path}: {error.strerror}")


def no_file(path: str | Path) -> str:
    """What is at a path in place of a file, for a message: "is a folder, not a file"; else empty.

    To open a FIFO would wait for whoever writes into it.
    """
    mode = _mode(path) or 0
    kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), "")
    return f"is a {kind}, not a file" if kind else ""


_KINDS = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "FIFO (a pipe)"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def no_such(path: str | Path, what: str) -> str:
    """That there is no `what` (file or directory) at a path, for a message; guesses what was meant."""
    path = missing = Path(path)
    try:
        if path.is_symlink():
            return f"is a link to what is not there, {os.readlink(path)}"  # noqa: PTH115
        while not missing.parent.is_dir() and missing.parent != missing:
            missing = missing.parent
        guess = nearest(missing.name, os.listdir(missing.parent))  # noqa: PTH208
    except (OSError, ValueError):
        guess = ""
    hint = (
        f"; did you mean {short_path(missing.parent / guess / path.relative_to(missing))}?" if guess else ""
    )
    return f"there is no such {what}{hint}"


def file_problem(path: str | Path) -> str:
    """Why there is no file at a path, for a message; empty if there is one, or that can't be seen."""
    return no_file(path) or ("" if _mode(path) is not None else no_such(path, "file"))


def directory_problem(path: str | Path) -> str:
    """Why there is no directory at a path, for a message; empty if there is one, or that can't be seen."""
    mode = _mode(path)
    if mode is None:
        return no_such(path, "directory")
    return "" if stat.S_ISDIR(mode) or not mode else "is no directory"


def _mode(path: str | Path) -> int | None:
    """The mode of what is at a path; 0 where that can't be seen, None if there is nothing."""
    try:
        return os.stat(path).st_mode  # noqa: PTH116
    except OSError as error:
        is_nothing = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
        return None if is_nothing else 0
    except ValueError:  # no file can have this name
        return None


def first_of(names: Iterable[str], most: int) -> str:
    """The first names, and how many more there are: "a, b and 3 more"."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def nearest(word: str, choices: Iterable[str], cutoff: float = 0.6) -> str:
    """The choice most similar to `word`; empty if none is similar."""
    return next(iter(difflib.get_close_matches(word, list(choices), n=1, cutoff=cutoff)), "")


def suggestion(word: str, known: Iterable[str], *, prefix: str = "", otherwise: str = "") -> str:
    """The end of a message about the unknown name `word`: "did you mean X?", or the valid names.

    Args:
        word: the name that was given.
        known: the valid names.
        prefix: put before a suggested name: "trainer.".
        otherwise: used in place of the list of known names if none is similar.
    """
    names = list(known)
    guess = nearest(word, names)
    return f"did you mean {prefix}{guess}?" if guess else otherwise or f"known are {', '.join(names)}"
