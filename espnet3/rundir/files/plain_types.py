"""Whether plain data, as JSON has it, has the type that a dataclass gives a field."""

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin


def has_type(value: Any, hint: Any) -> bool:
    """Whether `value` has the type `hint`; an int is a float, a list a tuple, and any dict a dataclass."""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(has_type(value, choice) for choice in arguments)
    if kind is Literal:
        return value in arguments
    if kind in (None, NoneType):
        return value is None
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    if kind in (str, bool):
        return isinstance(value, kind)
    if kind in (list, tuple):
        return isinstance(value, list | tuple) and _all_have_type(value, arguments[:1])
    if kind is dict:
        return isinstance(value, dict) and _all_have_type(value.values(), arguments[1:])
    return True


def _all_have_type(values: Any, hint: tuple[Any, ...]) -> bool:
    return not hint or hint[0] is Any or all(has_type(value, hint[0]) for value in values)
