"""Configurations of many trials from one composition: each point sets its values in a copy of it.

Only what depends on a swept key is resolved again, once per combination of the values it depends on. Ten
thousand trials take seconds this way; as many compositions take half an hour.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from espnet3.config import hydra_internals
from espnet3.config.compose import Recipe, settle
from espnet3.config.fingerprint import stats_hash
from espnet3.config.flat import Flat, flatten
from espnet3.config.overrides import check_key, check_value, is_empty_group, set_value, type_problem
from espnet3.config.references import dependents, interpolations, outermost, overlap
from espnet3.config.secrets import secrets_named
from espnet3.errors import UserError
from espnet3.sweep.trials.grid import Axis, Point

PER_TRIAL = ("tag", "exp_dir")
"""Keys that every trial sets itself; values that depend on them stay interpolations until then."""
Changes = dict[str, Any]
"""What a trial changes in its base configuration: dotted key -> plain value."""


class Family:
    """The trials that are composed from the same files.

    Attributes:
        base: their base configuration as nested dicts and lists, resolved except for what depends on
            PER_TRIAL. What depends on a swept key has the first trial's value.
        base_flat: the same with dotted keys, without what depends on a swept key.
    """

    base: Any
    base_flat: Flat

    def __init__(
        self, recipe: Recipe, config: DictConfig, axes: Sequence[Axis], *, added: Collection[str] = ()
    ) -> None:
        """Check every value of `axes`, and resolve what the trials have in common.

        Args:
            recipe: the recipe.
            config: from `open_config`; the keys of `axes` are in it.
            axes: those that set a value; config groups are chosen in `config` already.
            added: keys of axes that the recipe does not have; they take any value.

        Raises:
            UserError: as `compose`, for any point of the axes.
        """
        self._original, self._axes = config, list(axes)
        self._config = config.copy()
        self._current: dict[int, int] = {}
        self._resolved: dict[tuple[str, Point], Any] = {}
        for axis in axes:
            if axis.key == "stats_dir":
                raise UserError(
                    "stats_dir can't be swept: it follows from the data of the statistics; sweep that"
                )
            check_key(config, axis.values[0], recipe.primary)
            old = OmegaConf.select(config, axis.key, throw_on_missing=False)
            for override in axis.values if axis.key not in added else ():
                if type_problem(old, override.value()):
                    check_value(config, override, recipe.primary)
        unresolved = outermost(dependents(config, PER_TRIAL)) | set(PER_TRIAL)
        self._stats_keys = outermost({"stats_dir", *dependents(config, ["stats_dir"])})
        self._dependencies = self._find_dependencies(unresolved)
        settled = self._check(recipe)
        if "stats_dir" not in self._dependencies:
            self._config.stats_dir = settled.stats_dir
        raw = dict(interpolations(config))
        self.base = OmegaConf.to_container(settled, resolve=False)
        for key in unresolved:
            if key in raw:
                set_nested(self.base, key, raw[key])
        self.base_flat = {
            key: value
            for key, value in flatten(self.base).items()
            if not any(overlap(key, node) for node in self._dependencies)
        }

    def changes(self, points: Iterable[Point]) -> list[Changes]:
        """For each point its values of all keys that may differ from `base`.

        Raises:
            UserError: a value can't be resolved.
        """
        with secrets_named(self._config):
            return [
                {node: self._value(node, positions, point) for node, positions in self._dependencies.items()}
                for point in points
            ]

    def _find_dependencies(self, unresolved: Collection[str]) -> dict[str, tuple[int, ...]]:
        """Key -> positions of the axes that it depends on; the swept keys themselves come first."""
        config = self._original
        follows: dict[str, set[int]] = {axis.key: {number} for number, axis in enumerate(self._axes)}
        for number, axis in enumerate(self._axes):
            for key in dependents(config, [axis.key]).difference(unresolved):
                follows.setdefault(key, set()).add(number)
        all_axes = set(range(len(self._axes)))
        for axis in self._axes:
            if any("${" in str(override.value()) for override in axis.values):
                for key in {axis.key, *dependents(config, [axis.key]).difference(unresolved)}:
                    follows[key] = set(all_axes)  # a value that refers to another key may depend on any
        if hydra_internals.unresolved(config, "stats_dir") == "auto":
            inputs = [str(key) for key in config.collect_stats.depends_on]
            decide = [axes for key, axes in follows.items() if any(overlap(key, read) for read in inputs)]
            if decide:
                for key in self._stats_keys.difference(unresolved):
                    follows.setdefault(key, set()).update(*decide)
        outer = outermost(follows)
        return {key: tuple(sorted(axes)) for key, axes in follows.items() if key in outer}

    def _check(self, recipe: Recipe) -> DictConfig:
        """Settle as many points as needed to check every value on its own.

        Bounds are intervals, so the smallest and largest number of each type stand for all numbers.

        Returns:
            The first point, settled.
        """
        to_check = [_values_to_check(axis) for axis in self._axes]
        settled = []
        for step in range(max(map(len, to_check), default=1)):
            point = [each[min(step, len(each) - 1)] for each in to_check]
            self._set_point(range(len(point)), point)
            settled.append(settle(self._config.copy(), recipe))
        return settled[0]

    def _value(self, node: str, positions: Point, point: Point) -> Any:
        """The plain value of `node` at `point`, resolved once per combination of the values it depends on."""
        at = (node, tuple(point[position] for position in positions))
        if at not in self._resolved:
            self._resolved[at] = self._resolve(node, positions, point)
        return self._resolved[at]

    def _resolve(self, node: str, positions: Point, point: Point) -> Any:
        axis = self._axes[positions[0]]
        if axis.key == node and len(positions) == 1:
            value = axis.values[point[positions[0]]].value()
            if not isinstance(value, str | list | dict) or (isinstance(value, str) and "${" not in value):
                return value
        self._set_point(positions, point)
        with _as_user_error(node):
            if "stats_dir" in self._dependencies and any(overlap(node, key) for key in self._stats_keys):
                self._config.stats_dir = "@stats"
                self._config.stats_dir = f"{self._config.recipe_dir}/exp/stats/{stats_hash(self._config)}"
            unresolved = dependents(self._config, PER_TRIAL)
            if node in unresolved:
                return dict(interpolations(self._config))[node]
            value = OmegaConf.select(self._config, node)
            if not OmegaConf.is_config(value):
                return value
            plain = OmegaConf.to_container(value, resolve=True)
            inside = f"{node}."
            for key, text in interpolations(self._config):
                if key in unresolved and key.startswith(inside):
                    set_nested(plain, key.removeprefix(inside), text)
            return plain

    def _set_point(self, positions: Iterable[int], point: Sequence[int]) -> None:
        """Set the values of these axes in the working copy."""
        for position in positions:
            if self._current.get(position) == point[position]:
                continue
            override = self._axes[position].values[point[position]]
            key = override.key_or_group
            original = OmegaConf.select(self._original, key, throw_on_missing=False)
            if OmegaConf.is_config(original):  # a dict is merged, but not into the previous value
                OmegaConf.update(self._config, key, original.copy(), merge=False)
            set_value(self._config, override, force_add=is_empty_group(self._original, key))
            self._current[position] = point[position]


def set_nested(config: Any, key: str, value: Any) -> None:
    """Set a dotted key in nested dicts and lists."""
    *parents, last = key.split(".")
    for name in parents:
        config = config[int(name)] if isinstance(config, list) else config[name]
    if isinstance(config, list):
        config[int(last)] = value
    else:
        config[last] = value


def _values_to_check(axis: Axis) -> list[int]:
    """Indices of the values of an axis that must be checked in a whole configuration."""
    found: dict[str, int] = {}
    numbers: dict[type, list[int]] = {}
    values: list[Any] = [override.value() for override in axis.values]
    for number, value in enumerate(values):
        if isinstance(value, int | float) and not isinstance(value, bool):
            numbers.setdefault(type(value), []).append(number)
        else:
            found.setdefault(repr(value), number)
    ends = [end(same, key=values.__getitem__) for same in numbers.values() for end in (min, max)]
    return sorted({*found.values(), *ends})


@contextmanager
def _as_user_error(key: str) -> Iterator[None]:
    try:
        yield
    except OmegaConfBaseException as error:
        raise UserError(f"{getattr(error, 'full_key', None) or key}: {str(error).splitlines()[0]}") from error
