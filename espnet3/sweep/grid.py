"""The grid of a sweep: the swept keys and their values, in Hydra's syntax, and the points they span."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from hydra.core.override_parser.types import Glob, IntervalSweep, Override, Transformer

from espnet3.config.hydra_internals import with_element
from espnet3.config.overrides import parse_overrides
from espnet3.config.references import overlap
from espnet3.errors import UserError

NOT_SWEPT = ("tag", "exp_dir", "recipe_dir", "sweep", "launcher", "hydra")
"""What all trials of a sweep have in common."""

Point = tuple[int, ...]
"""Which value it has on each axis, by number."""


@dataclass(frozen=True)
class Axis:
    """A swept key."""

    key: str
    """Without the + of one that is added."""
    values: tuple[Override, ...]
    """Each as if it had been given alone."""
    is_group: bool
    """Its values choose files: each needs a composition of its own."""


@dataclass(frozen=True)
class Grid:
    """What a command with --multirun asks for."""

    fixed: tuple[Override, ...]
    """What all trials have."""
    axes: tuple[Axis, ...]
    chosen: tuple[Point, ...] | None = None
    """Its only points; None: all."""

    def points(self) -> Iterator[Point]:
        """Those chosen, or every combination; the last key changes fastest."""
        return iter(self.chosen) if self.chosen is not None else self._all()

    def _all(self) -> Iterator[Point]:
        return product(*(range(len(axis.values)) for axis in self.axes))


def parse_grid(overrides: Sequence[str], *conf: Path, params: Mapping[str, str] | None = None) -> Grid:
    """The grid that a command line spans.

    Args:
        overrides: as they are typed: `a,b`, `choice(a,b)`, `range(1,4)`, `glob(*)` (of a group) are swept.
        conf: folders in which groups of files are looked for.
        params: the recipe's own `hydra.sweeper.params`, over which the command line lies.

    Raises:
        UserError: an override that does not parse, can't be swept, or is swept within another.
    """
    fixed, swept = split_swept(overrides, params or {})
    return Grid(tuple(fixed), tuple(axis_of(override, conf) for override in swept))


def split_swept(overrides: Sequence[str], params: Mapping[str, str]) -> tuple[list[Override], list[Override]]:
    """What has one value, and what has several; see `parse_grid`.

    Raises:
        UserError: an override that does not parse, or is swept within another.
    """
    given = parse_overrides(overrides, several=True)
    typed = {_name(override) for override in given}
    recipes_own = parse_overrides([f"{key}={values}" for key, values in params.items()], several=True)
    fixed: list[Override] = []
    swept: dict[str, Override] = {}
    for override in [*(one for one in recipes_own if _name(one) not in typed), *given]:
        name = _name(override)
        swept.pop(name, None)  # as in Hydra, the last one counts
        if override.is_sweep_override():
            swept[name] = override
        else:
            fixed.append(override)
    keys = [override.key_or_group for override in swept.values()]
    for number, key in enumerate(keys):
        inside = next((other for other in keys[:number] if overlap(key, other)), None)
        if inside:
            raise UserError(f"{inside} and {key} can't both be swept: one holds the other")
    return fixed, list(swept.values())


def grid_of(trials: Sequence[Sequence[str]], *conf: Path, keys: Collection[str] = ()) -> Grid:
    """The grid whose only points are these trials.

    Args:
        trials: the overrides of each, one value a key; at least one trial.
        conf: folders in which groups of files are looked for.
        keys: those that are swept; besides, every key whose value differs between trials.

    Raises:
        UserError: an override that does not parse, can't be swept, or is not there for every trial.
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


def for_one_alone(fixed: Sequence[str]) -> list[str]:
    """Of the overrides that all trials of a sweep have, those that count for a trial run alone."""
    return [text for text in fixed if not text.startswith(("tag=", "exp_dir=", "sweep.", "hydra"))]


def _name(override: Override) -> str:
    return f"{override.key_or_group}@{override.package}" if override.package else override.key_or_group


def check_swept(override: Override) -> None:
    """Refuse to sweep what all trials have in common.

    Raises:
        UserError: it is that.
    """
    key = override.key_or_group
    if key.replace("/", ".").split(".")[0] in NOT_SWEPT:
        raise UserError(
            f"{override.input_line}: all trials of a sweep have the same {key}; sweep something else"
        )


def _folders(override: Override, conf: Sequence[Path]) -> list[Path]:
    """The folders of the group that is swept; none, where a value is."""
    check_swept(override)
    return [folder / override.key_or_group for folder in conf if (folder / override.key_or_group).is_dir()]


def axis_of(override: Override, conf: Sequence[Path]) -> Axis:
    """The values of an override that has several.

    Raises:
        UserError: it can't be swept, or has no values that could be counted.
    """
    key, text = override.key_or_group, override.input_line
    folders = _folders(override, conf)
    if isinstance(override.value(), IntervalSweep):
        raise UserError(
            f"{text}: an interval is searched, not enumerated: take a search such as hydra/sweeper=optuna,"
            " or give range(…) or values"
        )
    if isinstance(pattern := override.value(), Glob):
        found = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
        elements = pattern.filter(found)
        if not elements:
            raise UserError(
                f"{text}: no file of the group {key} matches; there are: {', '.join(found) or 'none'}"
            )
    else:
        elements = list(override.sweep_iterator(transformer=Transformer.identity))
    values = []
    for element in elements:
        shown = f"{override.get_key_element()}={Transformer.str(element)}"
        values.append(with_element(override, element, shown))
    return Axis(key, tuple(values), is_group=bool(folders))
