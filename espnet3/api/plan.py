"""Plan a command: a run, a grid of trials or a search, composed and checked before anything is started."""

from typing import Protocol

from espnet3.api.command import Command
from espnet3.api.handle import Handle
from espnet3.api.plan_run import plan_run
from espnet3.api.plan_sweep import plan_grid, plan_search
from espnet3.config.compose import find_recipe
from espnet3.sweep.search.settings import is_search_requested
from espnet3.terminal.screen import Screen


class Plan(Protocol):
    """What a command would do."""

    def describe(self) -> list[str]:
        """The plan with all scripts, as lines; writes nothing."""

    def run(self, screen: Screen) -> int:
        """Run it to its end, or submit it with --detach; returns the exit code."""

    def start(self, screen: Screen) -> Handle:
        """Start it so that it goes on without this process; returns at once."""


def plan_command(command: Command) -> Plan:
    """Plan a command; only reads.

    Raises:
        UserError: a mistake in it.
    """
    command.check()
    stages, recipe = command.stages, find_recipe(command.recipe)
    if not command.multirun:
        return plan_run(command, stages)
    if is_search_requested(recipe, command.overrides):
        return plan_search(command, stages)
    return plan_grid(command, recipe, stages)
