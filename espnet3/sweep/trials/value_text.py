"""A swept value as text: in tables and reports, and in names of folders."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from espnet3.number_text import number_text

_MAX_IN_NAME = 24


def value_text(value: Any) -> str:
    """A value in a table: strings unchanged, numbers as `number_text`, other values as in YAML or JSON."""
    if isinstance(value, str):
        return value
    return number_text(value) if is_number(value) else json.dumps(value, default=str)


def same_numbers(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each swept key whose values have a number as a whole and as a decimal one, 1 and 1.0.

    They are different to some options (limit_train_batches=1 is one batch, 1.0 all), and so are the trials.

    Args:
        trials: the values of each, by swept key.
    """
    lines = []
    for key in dict.fromkeys(key for values in trials for key in values):
        numbers = [values[key] for values in trials if is_number(values.get(key))]
        whole = {number for number in numbers if isinstance(number, int)}
        lines += [
            f"{key}={value} and {key}={value:.1f} are different trials: write both alike if they are one"
            for value in sorted(whole & {number for number in numbers if isinstance(number, float)})
        ]
    return lines


def name_text(value: Any) -> str:
    """A value in characters that are safe in a folder's name: 0.0001 is 1e-4, [3, 7] is 3-7."""
    if is_number(value):
        return number_text(value)
    if value is None or isinstance(value, bool):
        return value_text(value)
    if isinstance(value, list):
        return _truncated("-".join(name_text(inner) for inner in value))
    if isinstance(value, dict):
        return _truncated("-".join(f"{safe_text(str(k))}-{name_text(v)}" for k, v in value.items()))
    return _truncated(safe_text(str(value)))


def is_number(value: Any) -> bool:
    """Whether it is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def safe_text(text: str) -> str:
    """Without blanks, slashes, `__`, and characters that are special in Hydra's overrides or a shell."""
    return re.sub(r"_{2,}", "_", re.sub(r"[^A-Za-z0-9._+-]+", "-", text)).strip("-_.")


def _truncated(text: str) -> str:
    return text[:_MAX_IN_NAME].rstrip("-_.") or "empty"
