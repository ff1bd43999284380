"""Checks of configuration values: a predicate, and a description of valid values."""

import shlex
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, ListConfig

Check = tuple[Callable[[Any], bool], str]


def is_int(value: Any) -> bool:
    """Whether it is a whole number; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_one_line(text: str) -> bool:
    """Whether it has no line break of any kind, which could begin a line of a script, and no NUL."""
    return len(text.splitlines()) <= 1 and text.rstrip("\r\n") == text and "\0" not in text


def _is_command(value: Any) -> bool:
    if not isinstance(value, str) or not is_one_line(value):
        return value is None
    try:
        return shlex.split(value) != []
    except ValueError:  # an unclosed quotation
        return False


AT_LEAST_0: Check = (lambda value: is_int(value) and value >= 0, "a whole number, 0 or more")
AT_LEAST_1: Check = (lambda value: is_int(value) and value >= 1, "a whole number, 1 or more")
GIGABYTES: Check = (
    lambda v: v is None or (isinstance(v, int | float) and not isinstance(v, bool) and v > 0),
    "GB, more than 0, or null",
)
NAME: Check = (
    lambda value: (
        value is None
        or (
            isinstance(value, str | int)
            and not isinstance(value, bool)
            and str(value).strip() != ""
            and is_one_line(str(value))
        )
    ),
    "a name, or null",
)
COMMAND: Check = (_is_command, "a command as in a shell, or null")
LINES: Check = (
    lambda value: (
        isinstance(value, list | ListConfig)
        and all(isinstance(line, str) and is_one_line(line) for line in value)
    ),
    "a list of texts of one line each",
)
SETUP: Check = (
    lambda value: LINES[0](value) and not any(line.lstrip().startswith("#SBATCH") for line in value),
    LINES[1] + "; options of sbatch go into additional_parameters",
)
SBATCH_OPTIONS: Check = (
    lambda value: isinstance(value, dict | DictConfig),
    "options of sbatch and their values: {reservation: name}",
)
