"""Expand a command line with --multirun into trials: their configurations and identities."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from espnet3.config.checks.schema import check_key
from espnet3.config.compose import Recipe, open_with_sweeper, shared_conf, swept_params
from espnet3.config.fingerprint import code_files, trial_part
from espnet3.config.flat import Flat, flatten
from espnet3.rundir.records.code import hash_code
from espnet3.slurm.allocation import Allocation
from espnet3.stage_table import LONGER
from espnet3.sweep.trials.family import Changes, Family
from espnet3.sweep.trials.grid import Axis, Grid, Point, grid_of, parse_grid

WORLD_SIZE = "world size of train"


@dataclass(frozen=True)
class Candidate:
    """A point of a grid, as a trial that may be run."""

    digest: str
    """Its identity: the SHA-256 of everything that can change its result."""
    values: dict[str, Any]
    """Swept key -> value."""
    overrides: list[str]
    """The same as overrides."""
    base_index: int
    """Index of its base configuration in `Expansion.bases`."""
    changes: Changes
    code: dict[str, str]
    """The recipe's own Python files -> SHA-256, see `hash_code`."""


@dataclass(frozen=True)
class Expansion:
    """The trials that a command line asks for."""

    recipe: Recipe
    keys: list[str]
    """The swept keys, in the order given."""
    fixed: list[str]
    """The other overrides."""
    candidates: list[Candidate]
    """One per identity, in the order of the grid."""
    digests: list[str]
    """The identity of each point, in the order of the grid; several points may be the same trial."""
    bases: list[dict[str, Any]] = field(default_factory=list)
    """Base configurations of the candidates; see Family.base."""


def expand(recipe: Recipe, overrides: Sequence[str], allocation: Allocation | None = None) -> Expansion:
    """Compose and check the trials of `overrides`, which are in Hydra's multirun syntax.

    Raises:
        UserError: as `compose` and `parse_grid`.
    """
    conf = (recipe.conf, shared_conf())
    first = parse_grid(overrides, *conf, most_values=1)
    opened, sweeper = open_with_sweeper(recipe, _common_overrides(first, first=True), allocation)
    params = swept_params(sweeper)
    check_key("sweep.max_trials", opened.sweep.max_trials)
    grid = parse_grid(overrides, *conf, params=params, most_points=opened.sweep.max_trials)
    if params:
        opened, _ = open_with_sweeper(recipe, _common_overrides(grid, first=True), allocation)
    return _expand(recipe, grid, opened, allocation)


def expand_trials(
    recipe: Recipe,
    trials: Sequence[Sequence[str]],
    allocation: Allocation | None = None,
    *,
    keys: Collection[str] = (),
    length_counts: bool = False,
) -> Expansion:
    """As `expand`, for trials given by their overrides, one value per key.

    With `length_counts` a longer training is another trial, even where its length is not swept.

    Raises:
        UserError: as `compose` and `grid_of`.
    """
    grid = grid_of(trials, recipe.conf, shared_conf(), keys=keys)
    opened, _ = open_with_sweeper(recipe, _common_overrides(grid, first=True), allocation)
    return _expand(recipe, grid, opened, allocation, length_counts=length_counts)


def _expand(
    recipe: Recipe,
    grid: Grid,
    opened: DictConfig,
    allocation: Allocation | None,
    *,
    length_counts: bool = False,
) -> Expansion:
    """As `expand`; `opened` has the first choice of each swept config group."""
    swept = {axis.key for axis in grid.axes}
    left_out = [key for key in LONGER if key not in swept and not length_counts]
    groups = [number for number, axis in enumerate(grid.axes) if axis.is_group]
    bases: list[dict[str, Any]] = []
    by_point: dict[Point, Candidate] = {}
    by_choice: dict[Point, list[Point]] = {}
    for point in grid.points():
        by_choice.setdefault(tuple(point[number] for number in groups), []).append(point)
    for choice, points in by_choice.items():
        chosen = [grid.axes[number].values[index] for number, index in zip(groups, choice, strict=True)]
        if any(choice):
            opened, _ = open_with_sweeper(recipe, [*_common_overrides(grid), *chosen], allocation)
        by_point |= _candidates(recipe, opened, grid, points, bases, left_out)
    by_digest: dict[str, Candidate] = {}
    digests = [by_point[point].digest for point in grid.points()]
    for point in grid.points():
        by_digest.setdefault(by_point[point].digest, by_point[point])
    return Expansion(
        recipe,
        keys=[axis.key for axis in grid.axes],
        fixed=[override.input_line or "" for override in grid.fixed],
        candidates=list(by_digest.values()),
        digests=digests,
        bases=bases,
    )


def identity(config: Flat, code: Mapping[str, str]) -> str:
    """The SHA-256 of the configuration and code that decide a result, in hexadecimal digits."""
    text = json.dumps([config, code], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _common_overrides(grid: Grid, *, first: bool = False) -> list[Override]:
    """The overrides composed for all trials; an added key has its first value, which each trial replaces."""
    added = [axis.values[0] for axis in grid.axes if axis.values[0].is_add() and not axis.is_group]
    chosen = [axis.values[0] for axis in grid.axes if axis.is_group and first]
    return [*grid.fixed, *added, *chosen]


def _candidates(
    recipe: Recipe,
    opened: DictConfig,
    grid: Grid,
    points: Sequence[Point],
    bases: list[dict[str, Any]],
    left_out: Collection[str],
) -> dict[Point, Candidate]:
    """The candidates of `points`, which all have the config group choices of `opened`.

    Keys in `left_out` don't count for their identity.
    """
    plain = [number for number, axis in enumerate(grid.axes) if not axis.is_group]
    axes = [grid.axes[number] for number in plain]
    added = [axis.key for axis in axes if axis.values[0].is_add() or axis.values[0].is_force_add()]
    base_index = Family(recipe, opened, axes, added=added)
    bases.append(base_index.base)
    inner = [tuple(point[number] for number in plain) for point in points]
    identify = _identifier(recipe, base_index, left_out)
    found = {}
    for point, changes in zip(points, base_index.changes(inner), strict=True):
        digest, code = identify(changes)
        found[point] = Candidate(
            digest,
            _values(grid.axes, point, changes),
            _override_texts(grid.axes, point),
            len(bases) - 1,
            changes,
            code,
        )
    return found


def _values(axes: Sequence[Axis], point: Point, changes: Changes) -> dict[str, Any]:
    """The resolved value of each swept key; for a config group, the choice."""
    return {
        axis.key: changes.get(axis.key, axis.values[number].value())
        for axis, number in zip(axes, point, strict=True)
    }


def _override_texts(axes: Sequence[Axis], point: Point) -> list[str]:
    return [axis.values[number].input_line or "" for axis, number in zip(axes, point, strict=True)]


def _identifier(
    recipe: Recipe, base_index: Family, left_out: Collection[str]
) -> Callable[[Changes], tuple[str, dict[str, str]]]:
    """A function from a trial's changes to its identity and the hashes of its code.

    The keys in `left_out` don't count: a trial whose training becomes longer remains the same.
    """
    recipe_dir = str(recipe.directory)
    common = trial_part(base_index.base_flat, recipe_dir)
    targets = _target_keys(base_index.base_flat)
    codes: dict[tuple[tuple[str, Any], ...], dict[str, str]] = {}

    def identify(changes: Changes) -> tuple[str, dict[str, str]]:
        flat: Flat = {}
        for key, value in changes.items():
            flat |= flatten(value, key)
        trial_targets = _target_keys(flat)
        targets_key = tuple(sorted(trial_targets.items()))
        if targets_key not in codes:
            files = code_files({**targets, **trial_targets}, (recipe.directory, recipe.directory.parent))
            codes[targets_key] = hash_code(files, recipe.directory)
        ranks = 1
        for name in ("nodes", "tasks_per_node"):
            key = f"resources.train.{name}"
            ranks *= int(flat.get(key) or base_index.base_flat.get(key) or 1)
        config = {**common, **trial_part(flat, recipe_dir), WORLD_SIZE: ranks}
        for key in left_out:
            config.pop(key, None)
        return identity(config, codes[targets_key]), codes[targets_key]

    return identify


def _target_keys(flat: Flat) -> Flat:
    return {key: value for key, value in flat.items() if key.rsplit(".", 1)[-1] == "_target_"}
