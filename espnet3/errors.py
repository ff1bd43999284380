"""The exceptions that mean: the person made a mistake, and can mend it."""

import os
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
