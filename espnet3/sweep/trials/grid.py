"""The grid of a sweep: the swept keys and their values, in Hydra's syntax, and the points they span."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    RangeSweep,
    Sweep,
    Transformer,
)

from espnet3.config.hydra_internals import with_element
from espnet3.config.overrides import parse_overrides
from espnet3.config.references import overlap
from espnet3.errors import UserError

NOT_SWEPT = ("tag", "exp_dir", "recipe_dir", "sweep", "launcher", "hydra")
"""Keys that all trials of a sweep have in common."""

TAGS = {"log"}
"""Tags that say how an interval or a range is searched."""

Point = tuple[int, ...]
"""Index of its value on each axis."""


@dataclass(frozen=True)
class Axis:
    """A swept key."""

    key: str
    """Without the + of an added key."""
    values: tuple[Override, ...]
    """One override per value."""
    is_group: bool
    """Its values choose files of a config group: each needs a composition of its own."""


@dataclass(frozen=True)
class Grid:
    """The points that a command with --multirun asks for."""

    fixed: tuple[Override, ...]
    """The overrides that all trials have."""
    axes: tuple[Axis, ...]
    chosen: tuple[Point, ...] | None = None
    """The points to run; None: all combinations."""

    def points(self) -> Iterator[Point]:
        """The chosen points, or every combination; the last key changes fastest."""
        return iter(self.chosen) if self.chosen is not None else self._all()

    def _all(self) -> Iterator[Point]:
        return product(*(range(len(axis.values)) for axis in self.axes))


def parse_grid(
    overrides: Sequence[str],
    *conf: Path,
    params: Mapping[str, str] | None = None,
    most_points: int | None = None,
    most_values: int | None = None,
) -> Grid:
    """The grid of a command line.

    Args:
        overrides: as typed: `a,b`, `choice(a,b)`, `range(1,4)`, `glob(*)` (of a config group) are swept.
        conf: folders that hold config groups.
        params: the recipe's own `hydra.sweeper.params`; the command line overrides them.
        most_points: a larger grid is refused before it is enumerated; None: no limit.
        most_values: how many values of each key are read; None: all.

    Raises:
        UserError: an override that does not parse, can't be swept, or is swept within another; or there are
            more than `most_points`.
    """
    fixed, swept = split_swept(overrides, params or {})
    points = math.prod(number_of_values(override) for override in swept)
    if most_points is not None and points > most_points:
        sizes = " x ".join(f"{number_of_values(override):,} {override.key_or_group}" for override in swept)
        raise UserError(
            f"--multirun: {points:,} trials ({sizes}), and sweep.max_trials={most_points}: give fewer"
            f" values, or sweep.max_trials={points}"
        )
    return Grid(tuple(fixed), tuple(axis_of(override, conf, most=most_values) for override in swept))


def split_swept(overrides: Sequence[str], params: Mapping[str, str]) -> tuple[list[Override], list[Override]]:
    """The overrides with one value, and those with several; see `parse_grid`.

    Raises:
        UserError: an override that does not parse, or is swept within another.
    """
    given = parse_overrides(overrides, several=True)
    typed = {_name(override) for override in given}
    recipe_params = parse_overrides([f"{key}={values}" for key, values in params.items()], several=True)
    fixed: list[Override] = []
    swept: dict[str, Override] = {}
    for override in [*(param for param in recipe_params if _name(param) not in typed), *given]:
        name = _name(override)
        swept.pop(name, None)  # as in Hydra, the last one counts
        if override.is_sweep_override():
            _check_values(override)
            swept[name] = override
        else:
            fixed.append(override)
    keys = [override.key_or_group for override in swept.values()]
    for number, key in enumerate(keys):
        inside = next((other for other in keys[:number] if overlap(key, other)), None)
        if inside:
            raise UserError(f"{inside} and {key} can't both be swept: one contains the other")
    return fixed, list(swept.values())


def grid_of(trials: Sequence[Sequence[str]], *conf: Path, keys: Collection[str] = ()) -> Grid:
    """The grid whose only points are these trials.

    Args:
        trials: the overrides of each, one value per key; at least one trial.
        conf: folders that hold config groups.
        keys: keys to treat as swept, besides those whose value differs between trials.

    Raises:
        UserError: an override that does not parse, can't be swept, or is missing for a trial.
    """
    parsed = [{_name(override): override for override in parse_overrides(trial)} for trial in trials]
    names = list(dict.fromkeys(name for trial in parsed for name in trial))
    fixed: list[Override] = []
    axes: list[Axis] = []
    for name in names:
        absent = next((trials[number] for number, trial in enumerate(parsed) if name not in trial), None)
        if absent is not None:
            raise UserError(f"{name} has a value for some trials, and none for {' '.join(absent)}")
        values = {trial[name].input_line: trial[name] for trial in parsed}
        if len(values) > 1 or name in keys:
            folders = _folders(next(iter(values.values())), conf)
            axes.append(Axis(parsed[0][name].key_or_group, tuple(values.values()), is_group=bool(folders)))
        else:
            fixed += values.values()
    numbers = [{value.input_line: number for number, value in enumerate(axis.values)} for axis in axes]
    points = [
        tuple(
            number[trial[_name(axis.values[0])].input_line]
            for number, axis in zip(numbers, axes, strict=True)
        )
        for trial in parsed
    ]
    return Grid(tuple(fixed), tuple(axes), tuple(points))


def single_trial_overrides(fixed: Sequence[str]) -> list[str]:
    """Of the overrides common to a sweep, those that also apply to a trial run outside of it."""
    return [text for text in fixed if not text.startswith(("tag=", "exp_dir=", "sweep.", "hydra"))]


def _name(override: Override) -> str:
    return f"{override.key_or_group}@{override.package}" if override.package else override.key_or_group


def check_swept(override: Override) -> None:
    """Refuse to sweep what all trials have in common.

    Raises:
        UserError: the key is one of NOT_SWEPT.
    """
    key = override.key_or_group
    if key.replace("/", ".").split(".")[0] in NOT_SWEPT:
        raise UserError(
            f"{override.input_line}: all trials of a sweep have the same {key}; sweep something else"
        )


def _folders(override: Override, conf: Sequence[Path]) -> list[Path]:
    """The folders of the swept config group; empty where a plain value is swept."""
    check_swept(override)
    return [folder / override.key_or_group for folder in conf if (folder / override.key_or_group).is_dir()]


def number_of_values(override: Override) -> int:
    """How many values a swept override has, without enumerating them; a glob and an interval count as one."""
    value = override.value()
    if isinstance(value, RangeSweep):
        start, stop, step = value.start, value.stop, value.step
        assert start is not None and stop is not None
        return max(0, math.ceil((stop - start) / step))
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def _check_values(override: Override) -> None:
    """Check the values of a swept override.

    Raises:
        UserError: a tag without a meaning, a range without an end, a function among values, or a number that
            is not finite.
    """
    text, value = override.input_line, override.value()
    unknown = sorted(getattr(value, "tags", set()) - TAGS)
    if unknown:
        raise UserError(f"{text}: there is no tag {unknown[0]}; the only one is log, a logarithmic scale")
    if isinstance(value, RangeSweep):
        numbers: list[Any] = [value.start, value.stop, value.step]
        if value.step == 0 or not all(map(math.isfinite, numbers)):
            raise UserError(f"{text}: a range has finite numbers, and a step that is not 0: range(1,4,1)")
    elif isinstance(value, ChoiceSweep):
        for element in _leaves(value.list):
            if isinstance(element, Sweep | Glob):
                raise UserError(f"{text}: a function can't be one of several values: write all values, a,b,c")
            if isinstance(element, float) and not math.isfinite(element):
                raise UserError(f"{text}: {element} is no value to compare trials by: give finite numbers")


def _leaves(value: Any) -> Iterator[Any]:
    """The single values in nested lists and dicts."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    else:
        yield value


def axis_of(override: Override, conf: Sequence[Path], *, most: int | None = None) -> Axis:
    """The axis of an override with several values, or with the first ones (`most`).

    Raises:
        UserError: it can't be swept, or its values can't be enumerated.
    """
    key, text = override.key_or_group, override.input_line
    folders = _folders(override, conf)
    if isinstance(override.value(), IntervalSweep):
        raise UserError(
            f"{text}: an interval is searched, not enumerated: take a search such as hydra/sweeper=optuna,"
            " or give range(…) or values"
        )
    if isinstance(pattern := override.value(), Glob):
        choices = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
        elements = pattern.filter(choices)
        if not elements:
            raise UserError(
                f"{text}: no file of the group {key} matches; there are: {', '.join(choices) or 'none'}"
            )
    else:
        elements = list(islice(override.sweep_iterator(transformer=Transformer.identity), most))
    values = []
    for element in elements:
        line = f"{override.get_key_element()}={Transformer.str(element)}"
        values.append(with_element(override, element, line))
    return Axis(key, tuple(values), is_group=bool(folders))
