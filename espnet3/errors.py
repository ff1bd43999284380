"""The exceptions that mean: the person made a mistake, and can mend it."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A mistake of the user's: one line with what was given, where, and what would be right.

    The command line prints the message without a traceback and exits with 2 before anything was
    started (a stage that finds one later ends as failed, exit code 1).
    """


class ConfigurationError(UserError, AssertionError):
    """A configuration that contradicts itself or the model: what the module's specification asserts."""


def short_path(path: str | Path) -> str:
    """`path` for a message: relative to the working directory when that is shorter."""
    return min(os.path.relpath(path), str(path), key=len)


def cannot_write(error: OSError, path: str | Path) -> UserError:
    """The one line for a file or folder that can't be written; `path` where `error` names none."""
    return UserError(f"can't write {error.filename or path}: {error.strerror}")


def nearest(word: str, choices: Iterable[str], cutoff: float = 0.6) -> str:
    """The choice that looks most like `word`; empty if none looks like it."""
    return next(iter(difflib.get_close_matches(word, list(choices), n=1, cutoff=cutoff)), "")


def suggestion(word: str, known: Iterable[str], *, prefix: str = "", otherwise: str = "") -> str:
    """The end of a message about the unknown name `word`: "did you mean X?", or what there is.

    Args:
        word: what was given.
        known: the valid names.
        prefix: stands before a suggested name: "trainer.".
        otherwise: takes the place of the list of all known names, where none is near.
    """
    names = list(known)
    guess = nearest(word, names)
    return f"did you mean {prefix}{guess}?" if guess else otherwise or f"known are {', '.join(names)}"
