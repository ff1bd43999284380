"""A swept value as text: in tables and reports, and in names of folders."""

import json
import re
from typing import Any

from espnet3.number_text import number_text

_MAX_IN_NAME = 24


def value_text(value: Any) -> str:
    """A value in a table: strings unchanged, numbers as `number_text`, other values as in YAML or JSON."""
    if isinstance(value, str):
        return value
    return number_text(value) if is_number(value) else json.dumps(value, default=str)


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
