"""The plans of sweeps: a grid of trials, and a search."""

from dataclasses import dataclass
from functools import partial

from espnet3.api.background import start_in_background
from espnet3.api.command import Command
from espnet3.api.sweep import Sweep
from espnet3.config.compose import Recipe
from espnet3.errors import UserError
from espnet3.launcher.planning.claims import hold_for_command
from espnet3.sweep.command import (
    PlannedSweep,
    check_sweep,
    plan_sweep,
    run_sweep,
    start_sweep,
    sweep_directory,
)
from espnet3.sweep.dry_run import describe
from espnet3.sweep.run import SweepOptions
from espnet3.sweep.trials.expand import Expansion, expand
from espnet3.sweep.trials.search_record import SearchRequest
from espnet3.terminal.screen import Screen


@dataclass(frozen=True)
class GridPlan:
    """A grid of trials."""

    command: Command
    expansion: Expansion
    options: SweepOptions

    def plan(self) -> PlannedSweep:
        """The sweep as the command would create or extend it."""
        single = partial(self.command.single_trial, self.expansion.fixed)
        return plan_sweep(self.expansion, self.options.stages, self.options.command, single)

    def describe(self) -> list[str]:
        """The trials, with the scripts of those on Slurm."""
        return describe(self.plan(), self.options)

    def run(self, screen: Screen) -> int:
        """Run or submit the trials; returns the exit code."""
        return run_sweep(self.plan, sweep_directory(self.expansion), self.options, screen)

    def start(self, screen: Screen) -> Sweep:
        """Submit the trials; where some run on this machine, start a process in the background for all.

        Raises:
            UserError: for what can be known before anything is started.
        """
        directory = sweep_directory(self.expansion)
        with hold_for_command(directory, screen):
            checked = check_sweep(self.plan, self.options)
            started = start_sweep(checked, self.options, screen) if checked.all_on_slurm else None
        if started is None:
            start_in_background(directory, self.command)
        return Sweep(directory)


@dataclass(frozen=True)
class SearchPlan:
    """A search."""

    command: Command
    request: SearchRequest

    def describe(self) -> list[str]:
        """The search and the script of its first trial."""
        from espnet3.sweep.search.dry_run import describe

        return list(describe(self.request, self.command.allocation, detach=self.command.detach))

    def run(self, screen: Screen) -> int:
        """Search in this process, or submit the searching job; returns the exit code."""
        if self.command.detach:
            from espnet3.sweep.search.job import submit_search

            return submit_search(self.request, screen)
        from espnet3.sweep.search.loop import run_search

        return run_search(self.request, screen, allocation=self.command.allocation)

    def start(self, screen: Screen) -> Sweep:
        """Submit the searching job; for trials on this machine, start a process in the background.

        Raises:
            UserError: for what can be known before anything is started.
        """
        from espnet3.sweep.search.job import submit_search
        from espnet3.sweep.search.loop import plan_idle_search

        planned = plan_idle_search(self.request, self.command.allocation)
        if planned.on_slurm:
            submit_search(self.request, screen)
        else:
            start_in_background(planned.sweep, self.command)
        return Sweep(planned.sweep)


def plan_grid(command: Command, recipe: Recipe, stages: list[str]) -> GridPlan:
    """Expand the grid.

    Raises:
        UserError: a mistake in an override or in the configuration.
    """
    allocation = command.allocation
    expansion = expand(recipe, list(command.overrides), allocation)
    options = SweepOptions(stages, str(command), command.force, command.detach, allocation)
    return GridPlan(command, expansion, options)


def plan_search(command: Command, stages: list[str]) -> SearchPlan:
    """Describe the search; it is composed when it runs.

    Raises:
        UserError: --force.
    """
    if command.force:
        raise UserError(
            "--force: a search never runs finished trials again: give tag=NAME for another search"
        )
    request = SearchRequest(
        recipe=str(command.recipe.resolve()),
        overrides=list(command.overrides),
        stages=stages,
        command=str(command),
        single_trial_command=command.single().words,
    )
    return SearchPlan(command, request)
