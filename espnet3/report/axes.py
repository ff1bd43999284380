"""Swept keys as axes: their labels, and their sorted values as numbers and text."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

from espnet3.sweep.show.view import SweepView
from espnet3.sweep.trials.naming import labels
from espnet3.sweep.trials.value_text import is_number, value_text

MAX_CELLS = 30
"""An axis with more distinct numbers than this is drawn to scale, not as cells."""


@dataclass(frozen=True)
class Axis:
    """One swept key."""

    key: str
    label: str
    """Short and unique."""
    texts: list[str]
    """Its distinct values as text, in order."""
    numbers: list[float] | None
    """The same as numbers; None unless every value is a finite number."""
    log: bool
    """Its numbers are spread evenly on a logarithmic scale."""
    positions: list[int]
    """For each trial the index of its value; -1 if it has none."""

    @property
    def to_scale(self) -> bool:
        """Too many numbers for cells."""
        return self.numbers is not None and len(self.numbers) > MAX_CELLS


def axes(view: SweepView) -> list[Axis]:
    """An axis for each swept key, in order."""
    return [
        _axis(key, label, [trial.values.get(key, _NONE) for trial in view.trials])
        for key, label in labels(view.keys).items()
    ]


_NONE = object()


def _axis(key: str, label: str, values_by_trial: list[Any]) -> Axis:
    # 1, 1.0, '1' and true are different values
    names = [
        None if value is _NONE else f"{type(value).__name__} {value_text(value)}" for value in values_by_trial
    ]
    distinct = {name: value for name, value in zip(names, values_by_trial, strict=True) if name is not None}
    order = sorted(distinct, key=lambda name: _sort_key(distinct[name]))
    values = [distinct[name] for name in order]
    numeric = bool(values) and all(is_number(value) and math.isfinite(value) for value in values)
    numbers = [float(value) for value in values] if numeric else None
    log = numbers is not None and _by_factors(numbers)
    texts = [value_text(value) for value in values]
    position = {name: index for index, name in enumerate(order)}
    return Axis(
        key=key,
        label=label,
        texts=_distinguish(texts, values),
        numbers=numbers,
        log=log,
        positions=[-1 if name is None else position[name] for name in names],
    )


def _distinguish(texts: list[str], values: list[Any]) -> list[str]:
    """The texts, with the type added where two values have the same text."""
    return [
        f"{text} ({type(value).__name__})" if texts.count(text) > 1 else text
        for text, value in zip(texts, values, strict=True)
    ]


def _sort_key(value: Any) -> tuple[int, float, str]:
    if is_number(value):
        return (0, value, type(value).__name__) if math.isfinite(value) else (1, 0.0, str(value))
    return (2, 0.0, value_text(value))


def _by_factors(numbers: list[float]) -> bool:
    """Whether positive numbers are more evenly spread on a logarithmic scale."""
    numbers = sorted(set(numbers))
    if len(numbers) < 2 or numbers[0] <= 0:
        return False
    if len(numbers) == 2:
        return numbers[1] >= 10 * numbers[0]
    return _unevenness([math.log(number) for number in numbers]) < _unevenness(numbers)


def _unevenness(numbers: list[float]) -> float:
    """Spread of the steps between numbers, relative to their mean."""
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    mean = sum(steps) / len(steps)
    return math.sqrt(sum((step - mean) ** 2 for step in steps) / len(steps)) / mean
