"""Whether plain data, as JSON has it, has the type that a dataclass gives a field."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


def has_type(value: Any, hint: Any) -> bool:
    """Whether `value` has the type `hint`; an int is a float, a list a tuple, and a dict a dataclass.

    `Annotated[dict[str, Any], Kind]` is a dict with the fields of the dataclass `Kind`. Text that can't be
    printed, nor be the name of a file, is no text.
    """
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind is Annotated:
        return all(has_type(value, one) for one in arguments)
    if kind in (Union, UnionType):
        return any(has_type(value, choice) for choice in arguments)
    if kind is Literal:
        return value in arguments
    if kind in (None, NoneType):
        return value is None
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool) and _is_usual(value)
    if kind is str:
        return isinstance(value, str) and "\0" not in value and _can_be_written(value)
    if kind is bool:
        return isinstance(value, bool)
    if kind in (list, tuple):
        return isinstance(value, list | tuple) and _all_have_type(value, arguments[:1])
    if kind is dict:
        return isinstance(value, dict) and _all_have_type(value.values(), arguments[1:])
    if is_dataclass(kind):
        return isinstance(value, dict) and not wrong_field(value, kind)  # type: ignore[arg-type]
    return True


def wrong_field(content: Mapping[str, Any], kind: type) -> str:
    """The first field of the dataclass `kind` that is missing or has another type; empty if there is none."""
    for name, (hint, is_required) in _fields(kind).items():
        if name not in content:
            if is_required:
                return name
        elif not has_type(content[name], hint) or (hint is float and not math.isfinite(content[name])):
            return name
    return ""


def field_names(kind: type) -> set[str]:
    """The names of the fields of a dataclass."""
    return set(_fields(kind))


@cache
def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """Each field of a dataclass: its type, and whether it must be given."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        field.name: (hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(kind)
    }


def _all_have_type(values: Any, hint: tuple[Any, ...]) -> bool:
    return not hint or hint[0] is Any or all(has_type(value, hint[0]) for value in values)


def _is_usual(number: float) -> bool:
    """Whether an int fits where numbers of 64 bits do."""
    return isinstance(number, float) or -(2**63) <= number < 2**63


def _can_be_written(text: str) -> bool:
    """Whether `text` has no half of a character, which a damaged file may hold as an escape."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
