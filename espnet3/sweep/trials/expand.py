"""From a command line with --multirun to the trials it asks for: their configurations and identities."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from espnet3.config.compose import Recipe, open_with_sweeper, shared_conf, swept_by
from espnet3.config.fingerprint import code_files, trial_part
from espnet3.config.flat import Flat, flatten
from espnet3.rundir.record import hash_files
from espnet3.slurm.allocation import Allocation
from espnet3.sweep.trials.family import Changes, Family
from espnet3.sweep.trials.grid import Axis, Grid, Point, grid_of, parse_grid

WORLD_SIZE = "world size of train"


@dataclass(frozen=True)
class Candidate:
    """A point of a grid as a trial that could be run."""

    digest: str
    """Its identity: the SHA-256 of all that can change its result."""
    values: dict[str, Any]
    """Swept key -> value."""
    overrides: list[str]
    """The same as one would type it."""
    family: int
    """Which of `Expansion.bases` it varies."""
    changes: Changes
    code: dict[str, str]
    """The recipe's own Python files -> SHA-256."""


@dataclass(frozen=True)
class Expansion:
    """What a command line asks for."""

    recipe: Recipe
    keys: list[str]
    """The swept keys, in the order given."""
    fixed: list[str]
    """The other overrides."""
    candidates: list[Candidate]
    """One for each identity, in the order of the grid."""
    digests: list[str]
    """The identity of each point, in the order of the grid; several may be one trial."""
    bases: list[dict[str, Any]] = field(default_factory=list)
    """Configurations that the candidates vary; see Family.base."""


def expand(recipe: Recipe, overrides: Sequence[str], allocation: Allocation | None = None) -> Expansion:
    """Compose and check what `overrides`, in Hydra's syntax for several values, ask for.

    Raises:
        UserError: as `compose` and `parse_grid`.
    """
    conf = (recipe.conf, shared_conf())
    grid = parse_grid(overrides, *conf)
    opened, sweeper = open_with_sweeper(recipe, _for_files(grid, first=True), allocation)
    params = swept_by(sweeper)
    if params:
        grid = parse_grid(overrides, *conf, params=params)
        opened, _ = open_with_sweeper(recipe, _for_files(grid, first=True), allocation)
    return _expand(recipe, grid, opened, allocation)


def expand_trials(
    recipe: Recipe,
    trials: Sequence[Sequence[str]],
    allocation: Allocation | None = None,
    *,
    keys: Collection[str] = (),
) -> Expansion:
    """As `expand`, for trials that somebody else has chosen: the overrides of each, one value a key.

    Raises:
        UserError: as `compose` and `grid_of`.
    """
    grid = grid_of(trials, recipe.conf, shared_conf(), keys=keys)
    opened, _ = open_with_sweeper(recipe, _for_files(grid, first=True), allocation)
    return _expand(recipe, grid, opened, allocation)


def _expand(recipe: Recipe, grid: Grid, opened: DictConfig, allocation: Allocation | None) -> Expansion:
    """As `expand`; `opened` has the first value of each group of files that is swept."""
    groups = [number for number, axis in enumerate(grid.axes) if axis.is_group]
    bases: list[dict[str, Any]] = []
    found: dict[Point, Candidate] = {}
    by_choice: dict[Point, list[Point]] = {}
    for point in grid.points():
        by_choice.setdefault(tuple(point[number] for number in groups), []).append(point)
    for choice, points in by_choice.items():
        chosen = [grid.axes[number].values[index] for number, index in zip(groups, choice, strict=True)]
        if any(choice):
            opened, _ = open_with_sweeper(recipe, [*_for_files(grid), *chosen], allocation)
        found |= _members(recipe, opened, grid, points, bases)
    by_digest: dict[str, Candidate] = {}
    digests = [found[point].digest for point in grid.points()]
    for point in grid.points():
        by_digest.setdefault(found[point].digest, found[point])
    return Expansion(
        recipe,
        keys=[axis.key for axis in grid.axes],
        fixed=[override.input_line or "" for override in grid.fixed],
        candidates=list(by_digest.values()),
        digests=digests,
        bases=bases,
    )


def identity(part: Flat, code: Mapping[str, str]) -> str:
    """The SHA-256 of what decides a result, in hexadecimal digits."""
    text = json.dumps([part, code], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _for_files(grid: Grid, *, first: bool = False) -> list[Override]:
    """What is composed for all trials: of keys that are added a first value, which others replace."""
    added = [axis.values[0] for axis in grid.axes if axis.values[0].is_add() and not axis.is_group]
    chosen = [axis.values[0] for axis in grid.axes if axis.is_group and first]
    return [*grid.fixed, *added, *chosen]


def _members(
    recipe: Recipe, opened: DictConfig, grid: Grid, points: Sequence[Point], bases: list[dict[str, Any]]
) -> dict[Point, Candidate]:
    """The candidates of `points`, which have all chosen the same files, as in `opened`."""
    plain = [number for number, axis in enumerate(grid.axes) if not axis.is_group]
    axes = [grid.axes[number] for number in plain]
    added = [axis.key for axis in axes if axis.values[0].is_add() or axis.values[0].is_force_add()]
    family = Family(recipe, opened, axes, added=added)
    bases.append(family.base)
    inner = [tuple(point[number] for number in plain) for point in points]
    identify = _identifier(recipe, family)
    found = {}
    for point, changes in zip(points, family.changes(inner), strict=True):
        digest, code = identify(changes)
        found[point] = Candidate(
            digest,
            _values(grid.axes, point, changes),
            _texts(grid.axes, point),
            len(bases) - 1,
            changes,
            code,
        )
    return found


def _values(axes: Sequence[Axis], point: Point, changes: Changes) -> dict[str, Any]:
    """What each swept key is, resolved; of a group of files the choice."""
    return {
        axis.key: changes.get(axis.key, axis.values[number].value())
        for axis, number in zip(axes, point, strict=True)
    }


def _texts(axes: Sequence[Axis], point: Point) -> list[str]:
    return [axis.values[number].input_line or "" for axis, number in zip(axes, point, strict=True)]


def _identifier(recipe: Recipe, family: Family) -> Callable[[Changes], tuple[str, dict[str, str]]]:
    """A function from a trial's changes to its identity and the code it runs; what all share is done once."""
    recipe_dir = str(recipe.directory)
    common = trial_part(family.base_flat, recipe_dir)
    targets = _targets(family.base_flat)
    codes: dict[tuple[tuple[str, Any], ...], dict[str, str]] = {}

    def identify(changes: Changes) -> tuple[str, dict[str, str]]:
        flat: Flat = {}
        for key, value in changes.items():
            flat |= flatten(value, key)
        own = _targets(flat)
        wanted = tuple(sorted(own.items()))
        if wanted not in codes:
            files = code_files({**targets, **own}, (recipe.directory, recipe.directory.parent))
            codes[wanted] = hash_files(files, recipe.directory)
        ranks = 1
        for name in ("nodes", "tasks_per_node"):
            key = f"resources.train.{name}"
            ranks *= int(flat.get(key) or family.base_flat.get(key) or 1)
        part = {**common, **trial_part(flat, recipe_dir), WORLD_SIZE: ranks}
        return identity(part, codes[wanted]), codes[wanted]

    return identify


def _targets(flat: Flat) -> Flat:
    return {key: value for key, value in flat.items() if key.rsplit(".", 1)[-1] == "_target_"}
