"""Search spaces: from Hydra's override syntax to Optuna's distributions, and from values to overrides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from espnet3.config.overrides import parse_overrides
from espnet3.errors import UserError
from espnet3.sweep.trials.grid import axis_of, check_swept, number_of_values

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Point = tuple[str, ...]
"""One override for each dimension: ("optimizer.lr=0.0003745", "model.layers=4")."""
_DIGITS = 4
"""Significant digits of a sampled number: more would only make names of trials unreadable."""


@dataclass(frozen=True)
class Dimension:
    """A searched key."""

    key: str
    prefix: str
    """What precedes the value in an override, such as "+callbacks.x=" for an added key."""
    texts: tuple[str, ...] = ()
    """The overrides to choose from; empty for an interval."""
    is_ordered: bool = False
    """The choices have an order."""
    low: float = 0
    high: float = 0
    """Inclusive."""
    log: bool = False
    is_integer: bool = False

    @property
    def size(self) -> float:
        """Number of values."""
        if self.texts:
            return len(self.texts)
        return self.high - self.low + 1 if self.is_integer else math.inf

    @property
    def ends(self) -> tuple[str, ...]:
        """The overrides to check before anything runs: all choices, or the ends of an interval."""
        return self.texts or (self.text(self.low), self.text(self.high))

    def __str__(self) -> str:
        if self.texts:
            shown = [text.removeprefix(self.prefix) for text in self.texts]
            some = ", ".join(shown[:5]) + (f", … ({len(shown)} values)" if len(shown) > 5 else "")
            return f"{self.key}: {some}"
        kind = " ".join([*(["whole"] if self.is_integer else []), *(["log"] if self.log else [])])
        return f"{self.key}: {self.low!r} to {self.high!r}{f', {kind}' if kind else ''}"

    def distribution(self) -> "BaseDistribution":
        """The distribution for Optuna; for ordered choices, one over their indices."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.texts and not self.is_ordered:
            return CategoricalDistribution(self.texts)
        if self.texts:
            return IntDistribution(0, len(self.texts) - 1)
        if self.is_integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def text(self, value: object) -> str:
        """The override for a value of the distribution."""
        if self.texts:
            return self.texts[value] if isinstance(value, int) else str(value)
        assert isinstance(value, int | float)
        if self.is_integer:
            return f"{self.prefix}{int(value)}"
        return f"{self.prefix}{self._rounded(float(value))!r}"

    def value(self, text: str) -> object | None:
        """The value of the distribution for an override; None if it is outside of the space."""
        if self.texts:
            found = text in self.texts
            return (self.texts.index(text) if self.is_ordered else text) if found else None
        value = parse_overrides([text])[0].value()
        if not isinstance(value, int if self.is_integer else int | float) or isinstance(value, bool):
            return None
        assert isinstance(value, int | float)
        if not self.low <= value <= self.high:
            return None
        return value if self.is_integer else float(value)

    def _rounded(self, value: float) -> float:
        """`value` rounded to the precision of the interval, and still inside it."""
        width = math.log10(self.high / self.low) * abs(value) if self.log else self.high - self.low
        places = _DIGITS - math.floor(math.log10(width)) if width else 17
        return min(max(round(value, places), self.low), self.high)


def dimension_of(override: Override, conf: Sequence[Path], *, most_values: int | None = None) -> Dimension:
    """The dimension of an override with several values.

    Raises:
        UserError: it can't be swept, has no values, or more than `most_values` to enumerate, or its scale is
            not possible.
    """
    text, value = override.input_line, override.value()
    prefix = f"{override.get_key_element()}="
    if isinstance(value, IntervalSweep | RangeSweep) and "log" in value.tags:
        check_swept(override)
        start = value.start
        end = value.end if isinstance(value, IntervalSweep) else value.stop
        assert start is not None and end is not None
        if isinstance(value, RangeSweep):
            if value.step != 1 or not isinstance(start, int) or not isinstance(end, int):
                raise UserError(
                    f"{text}: on a logarithmic scale a range has whole numbers and steps of 1; take"
                    " tag(log, interval(…)), or give the values"
                )
            end -= 1
        return _interval(override, prefix, start, end, log=True)
    if isinstance(value, IntervalSweep):
        check_swept(override)
        assert value.start is not None and value.end is not None
        return _interval(override, prefix, value.start, value.end, log=False)
    if most_values is not None and number_of_values(override) > most_values:
        raise UserError(
            f"{text}: {number_of_values(override):,} values to choose from, and"
            f" sweep.max_trials={most_values}: give an interval(…), or a larger sweep.max_trials"
        )
    axis = axis_of(override, conf)
    texts = tuple(dict.fromkeys(choice.input_line or "" for choice in axis.values))
    if not texts:
        raise UserError(f"{text}: there is no value to choose")
    return Dimension(axis.key, prefix, texts, is_ordered=isinstance(value, RangeSweep))


def _interval(override: Override, prefix: str, low: float, high: float, *, log: bool) -> Dimension:
    if not low < high or not math.isfinite(high - low):
        raise UserError(f"{override.input_line}: an interval goes from a number to a larger one")
    if log and low <= 0:
        raise UserError(f"{override.input_line}: on a logarithmic scale an interval begins above 0")
    is_integer = isinstance(low, int) and isinstance(high, int)
    return Dimension(override.key_or_group, prefix, low=low, high=high, log=log, is_integer=is_integer)
