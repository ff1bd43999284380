"""Checks of configuration values: a predicate, and a description of valid values."""

import math
import shlex
from collections.abc import Callable, Iterable
from typing import Any

from omegaconf import DictConfig, ListConfig

Check = tuple[Callable[[Any], bool], str]
LARGEST = 2**31 - 1
"""The largest whole number that Slurm and others take for a count."""


def is_int(value: Any) -> bool:
    """Whether it is a whole number; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a number and finite; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(least: int, most: int = LARGEST) -> Check:
    """Takes a whole number from `least` to `most`."""
    upper = "" if most == LARGEST else f", up to {most}"
    return lambda value: is_int(value) and least <= value <= most, f"a whole number, {least} or more{upper}"


def or_null(check: Check) -> Check:
    """Takes what `check` takes, and null."""
    return lambda value: value is None or check[0](value), f"{check[1]}, or null"


def either(*checks: Check) -> Check:
    """Takes what any of `checks` takes."""
    return lambda value: any(takes(value) for takes, _ in checks), ", or ".join(text for _, text in checks)


def one_of(values: Iterable[Any]) -> Check:
    """Takes one of `values`, of the same type."""
    known = list(values)

    def takes(value: Any) -> bool:
        return any(type(value) is type(one) and value == one for one in known)

    return takes, "one of " + ", ".join(map(str, known))


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


AT_LEAST_0 = whole(0)
AT_LEAST_1 = whole(1)
MINUTES: Check = (AT_LEAST_1[0], f"minutes, {AT_LEAST_1[1]}: 90 for 1:30:00")
BOOLEAN: Check = (lambda value: isinstance(value, bool), "true or false")
GIGABYTES = or_null((lambda value: is_number(value) and 0 < value <= LARGEST, "GB, more than 0"))
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
