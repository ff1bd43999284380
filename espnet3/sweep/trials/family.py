"""Configurations of many trials from one composition: each point sets its values in what was read once.

Only what follows from a swept key is resolved again, once for every combination of the values it follows
from. So ten thousand trials take seconds where as many compositions take half an hour.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from espnet3.config.compose import Recipe, settle
from espnet3.config.fingerprint import stats_hash
from espnet3.config.flat import Flat, flatten
from espnet3.config.overrides import check_key, check_value, is_empty_group, set_value, type_problem
from espnet3.config.references import dependents, interpolations, outermost, overlap
from espnet3.config.secrets import secrets_named
from espnet3.errors import UserError
from espnet3.sweep.trials.grid import Axis, Point

OWN = ("tag", "exp_dir")
"""What each trial has for itself: values that follow from it stay interpolations until it is known."""
Changes = dict[str, Any]
"""What a trial has for itself: dotted key -> plain value."""


class Family:
    """The trials that read the same files.

    Attributes:
        base: the configuration of all of them as nested dicts and lists, resolved but for what follows
            from OWN. What follows from a swept key is there as the first trial has it.
        base_flat: the same with dotted keys, without what follows from a swept key.
    """

    base: Any
    base_flat: Flat

    def __init__(
        self, recipe: Recipe, config: DictConfig, axes: Sequence[Axis], *, added: Collection[str] = ()
    ) -> None:
        """Check every value of `axes`, and resolve what the trials have in common.

        Args:
            recipe: which one it is.
            config: from `open_config`; the keys of `axes` are in it.
            axes: those that set a value; groups of files are chosen in `config` already.
            added: keys of axes that the recipe does not have, so that they may hold anything.

        Raises:
            UserError: as `compose`, for any point of the axes.
        """
        self._original, self._axes = config, list(axes)
        self._config = config.copy()
        self._turned: dict[int, int] = {}
        self._known: dict[tuple[str, Point], Any] = {}
        for axis in axes:
            if axis.key == "stats_dir":
                raise UserError(
                    "stats_dir can't be swept: it follows from what the statistics are made of, which can"
                )
            check_key(config, axis.values[0], recipe.primary)
            old = OmegaConf.select(config, axis.key, throw_on_missing=False)
            for override in axis.values if axis.key not in added else ():
                if type_problem(old, override.value()):
                    check_value(config, override, recipe.primary)
        late = outermost(dependents(config, OWN)) | set(OWN)
        self._of_stats = outermost({"stats_dir", *dependents(config, ["stats_dir"])})
        self._follows = self._what_follows(late)
        settled = self._check(recipe)
        if "stats_dir" not in self._follows:
            self._config.stats_dir = settled.stats_dir
        raw = dict(interpolations(config))
        self.base = OmegaConf.to_container(settled, resolve=False)
        for key in late:
            if key in raw:
                place(self.base, key, raw[key])
        self.base_flat = {
            key: value
            for key, value in flatten(self.base).items()
            if not any(overlap(key, node) for node in self._follows)
        }

    def changes(self, points: Iterable[Point]) -> list[Changes]:
        """For each point what differs from `base`, of all keys that may differ.

        Raises:
            UserError: a value can't be resolved.
        """
        with secrets_named(self._config):
            return [
                {node: self._value(node, positions, point) for node, positions in self._follows.items()}
                for point in points
            ]

    def _what_follows(self, late: Collection[str]) -> dict[str, tuple[int, ...]]:
        """Key -> positions of the axes that it follows from; the swept keys themselves come first."""
        config = self._original
        follows: dict[str, set[int]] = {axis.key: {number} for number, axis in enumerate(self._axes)}
        for number, axis in enumerate(self._axes):
            for key in dependents(config, [axis.key]).difference(late):
                follows.setdefault(key, set()).add(number)
        every = set(range(len(self._axes)))
        for axis in self._axes:
            if any("${" in str(override.value()) for override in axis.values):
                for key in {axis.key, *dependents(config, [axis.key]).difference(late)}:
                    follows[key] = set(every)  # a value that names another key may follow from any
        if config.stats_dir == "auto":
            inputs = [str(key) for key in config.collect_stats.depends_on]
            decide = [axes for key, axes in follows.items() if any(overlap(key, read) for read in inputs)]
            if decide:
                for key in self._of_stats.difference(late):
                    follows.setdefault(key, set()).update(*decide)
        outer = outermost(follows)
        return {key: tuple(sorted(axes)) for key, axes in follows.items() if key in outer}

    def _check(self, recipe: Recipe) -> DictConfig:
        """Settle as many points as it takes to check every value that may be wrong by itself.

        Bounds are intervals: of numbers, the smallest and the largest of each type stand for all.

        Returns:
            The first point, settled.
        """
        suspects = [_suspects(axis) for axis in self._axes]
        settled = []
        for turn in range(max(map(len, suspects), default=1)):
            point = [each[min(turn, len(each) - 1)] for each in suspects]
            self._turn_to(range(len(point)), point)
            settled.append(settle(self._config.copy(), recipe))
        return settled[0]

    def _value(self, node: str, positions: Point, point: Point) -> Any:
        """The plain value of `node` at `point`, worked out once for each combination it follows from."""
        at = (node, tuple(point[position] for position in positions))
        if at not in self._known:
            self._known[at] = self._resolve(node, positions, point)
        return self._known[at]

    def _resolve(self, node: str, positions: Point, point: Point) -> Any:
        axis = self._axes[positions[0]]
        if axis.key == node and len(positions) == 1:
            given = axis.values[point[positions[0]]].value()
            if not isinstance(given, str | list | dict) or (isinstance(given, str) and "${" not in given):
                return given
        self._turn_to(positions, point)
        with _told(node):
            if "stats_dir" in self._follows and any(overlap(node, key) for key in self._of_stats):
                self._config.stats_dir = "@stats"
                self._config.stats_dir = f"{self._config.recipe_dir}/exp/stats/{stats_hash(self._config)}"
            late = dependents(self._config, OWN)
            if node in late:
                return dict(interpolations(self._config))[node]
            value = OmegaConf.select(self._config, node)
            if not OmegaConf.is_config(value):
                return value
            plain = OmegaConf.to_container(value, resolve=True)
            inside = f"{node}."
            for key, text in interpolations(self._config):
                if key in late and key.startswith(inside):
                    place(plain, key.removeprefix(inside), text)
            return plain

    def _turn_to(self, positions: Iterable[int], point: Sequence[int]) -> None:
        """Set the values of these axes in the working copy."""
        for position in positions:
            if self._turned.get(position) == point[position]:
                continue
            override = self._axes[position].values[point[position]]
            key = override.key_or_group
            original = OmegaConf.select(self._original, key, throw_on_missing=False)
            if OmegaConf.is_config(original):  # a group of keys is merged, but not into the value before
                OmegaConf.update(self._config, key, original.copy(), merge=False)
            set_value(self._config, override, force_add=is_empty_group(self._original, key))
            self._turned[position] = point[position]


def place(config: Any, key: str, value: Any) -> None:
    """Set a dotted key in nested dicts and lists."""
    *parents, last = key.split(".")
    for name in parents:
        config = config[int(name)] if isinstance(config, list) else config[name]
    if isinstance(config, list):
        config[int(last)] = value
    else:
        config[last] = value


def _suspects(axis: Axis) -> list[int]:
    """Numbers of the values of an axis that must be checked with all else."""
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
def _told(key: str) -> Iterator[None]:
    try:
        yield
    except OmegaConfBaseException as error:
        raise UserError(f"{getattr(error, 'full_key', None) or key}: {str(error).splitlines()[0]}") from error
