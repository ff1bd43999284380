"""Plan a search: compose and check its command, and find its trials in the sweep."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from espnet3.config.checks.schema import check_key
from espnet3.config.compose import Recipe, open_with_sweeper, shared_conf, swept_params
from espnet3.errors import UserError
from espnet3.slurm.allocation import Allocation
from espnet3.sweep.command import PlannedSweep, plan_sweep, sweep_directory, sweep_settings
from espnet3.sweep.jobs.plan import plan_batches
from espnet3.sweep.jobs.targets import check_targets
from espnet3.sweep.search.settings import Settings, check_sweeper_keys, read_settings
from espnet3.sweep.search.space import Dimension, Point, dimension_of
from espnet3.sweep.search.study import rehearse
from espnet3.sweep.trials.expand import Expansion, expand_trials
from espnet3.sweep.trials.grid import single_trial_overrides, split_swept
from espnet3.sweep.trials.objective import Objective, read_objective
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.sweep.trials.search_record import SearchRequest
from espnet3.sweep.trials.trial import read_trial


@dataclass(frozen=True)
class PlannedSearch:
    """A search, composed and checked, before anything is started."""

    request: SearchRequest
    recipe: Recipe
    space: list[Dimension]
    fixed: list[str]
    """The overrides that all trials have."""
    settings: Settings
    sweep: Path
    config: DictConfig
    """The configuration of one of its trials."""
    objective: Objective
    on_slurm: bool
    allocation: Allocation | None = None
    """The one this process is in."""

    @property
    def at_once(self) -> int:
        """How many trials are under way at once."""
        return self.settings.at_once(on_slurm=self.on_slurm, max_parallel=self.config.sweep.max_parallel)

    def expand(self, points: Sequence[Point]) -> Expansion:
        """The trials at `points`.

        Raises:
            UserError: as `expand_trials`.
        """
        trials = [[*self.fixed, *point] for point in points]
        return expand_trials(
            self.recipe,
            trials,
            self.allocation,
            keys=[dimension.key for dimension in self.space],
            length_counts=True,  # what came of shorter trainings tells nothing of longer ones
        )

    def plan(self, points: Sequence[Point]) -> PlannedSweep:
        """The sweep with the trials at `points`; writes nothing.

        Raises:
            UserError: as `plan_sweep`.
        """

        def single_trial_command(name: str, own: Sequence[str]) -> str:
            return shlex.join(
                [*self.request.single_trial_command, *single_trial_overrides(self.fixed), *own, f"tag={name}"]
            )

        return plan_sweep(
            self.expand(points), self.request.stages, self.request.command, single_trial_command
        )

    def known_trials(self) -> dict[str, Point]:
        """The trials of the sweep that are points of the search: name -> point, in order of creation.

        Trials with another configuration or code than this command gives them are left out.

        Raises:
            UserError: the sweep's record can't be read.
        """
        record = read_sweep_record(self.sweep)
        listed = record.listed if record else {}
        points: dict[Point, str] = {}
        for name in listed:
            trial = read_trial(self.sweep, name)
            point = self._point(trial.overrides) if trial else None
            if point is not None:
                points[point] = name
        if not points:
            return {}
        digests = self.expand(list(points)).digests
        return {
            name: point
            for (point, name), digest in zip(points.items(), digests, strict=True)
            if digest == listed[name].digest
        }

    def _point(self, overrides: Sequence[str]) -> Point | None:
        """The point of a trial with these overrides; None if it is outside of the space."""
        texts = {text.partition("=")[0] + "=": text for text in overrides}
        if set(texts) != {dimension.prefix for dimension in self.space}:
            return None
        point = tuple(texts[dimension.prefix] for dimension in self.space)
        inside = all(
            dimension.value(text) is not None for dimension, text in zip(self.space, point, strict=True)
        )
        return point if inside else None


def plan_search(request: SearchRequest, allocation: Allocation | None = None) -> PlannedSearch:
    """Compose and check a search at the ends of its space.

    Raises:
        UserError: a mistake in it, or Optuna is not installed.
    """
    recipe = Recipe(Path(request.recipe))
    check_sweeper_keys(request.overrides)
    fixed, _ = split_swept(request.overrides, {})
    opened, sweeper = open_with_sweeper(recipe, fixed, allocation)
    check_key("sweep.max_trials", opened.sweep.max_trials)
    settings = read_settings(sweeper)
    fixed, swept = split_swept(request.overrides, swept_params(sweeper))
    if not swept:
        raise UserError(
            "hydra/sweeper=optuna: nothing is searched: give a key several values, such as"
            " 'optimizer.lr=tag(log, interval(1e-5,1e-3))'"
        )
    conf = (recipe.conf, shared_conf())
    space = [dimension_of(override, conf, most_values=opened.sweep.max_trials) for override in swept]
    rehearse(space, settings.sampler)
    texts = [override.input_line or "" for override in fixed]
    ends = corners(space)
    expansion = expand_trials(
        recipe, [[*texts, *point] for point in ends], allocation, keys=[dimension.key for dimension in space]
    )
    config = sweep_settings(expansion)
    search = PlannedSearch(
        request, recipe, space, texts, settings, sweep_directory(expansion), config, read_objective(config),
        on_slurm=False, allocation=allocation,
    )  # fmt: skip
    planned = search.plan(ends)
    check_targets(search.sweep, planned.trials, planned.bases)
    batches = plan_batches(search.sweep, planned.trials, planned.bases, request.stages, allocation)
    where = {batch.on_slurm for batch in batches}
    if len(where) > 1:
        raise UserError(
            "hydra/sweeper=optuna: all trials of a search must run on this machine, or all on Slurm"
        )
    return PlannedSearch(**{**vars(search), "on_slurm": where.pop()})


def corners(space: Sequence[Dimension]) -> list[Point]:
    """The fewest points that cover both ends of every interval and every value of every choice."""
    ends = [dimension.ends for dimension in space]
    return [tuple(each[turn % len(each)] for each in ends) for turn in range(max(map(len, ends)))]
