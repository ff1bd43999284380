"""Whether plain data has the type of a field."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from espnet3.rundir.files.plain_types import has_type


@dataclass
class Inner:
    name: str


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, float),
        (None, float | None),
        ("done", Literal["done", "failed"] | None),
        (["a"], list[str]),
        (["a", "b"], tuple[str, ...]),
        ({"a": [1]}, dict[str, list[Any]]),
        ({"name": "a"}, Inner),
        (object(), Any),
    ],
)
def test_what_fits(value: Any, hint: Any):
    assert has_type(value, hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int),
        ("1", int),
        (1.5, int),
        (None, str),
        ("ended", Literal["done", "failed"]),
        ([1], list[str]),
        ("ab", list[str]),
        ({"a": 1}, dict[str, str]),
        ([], dict[str, str]),
    ],
)
def test_what_does_not(value: Any, hint: Any):
    assert not has_type(value, hint)
