"""`espnet3 run`, which every recipe's run.sh calls: run or submit stages of a recipe."""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet3 import __version__
from espnet3.commands.parser import EXIT_CODES
from espnet3.errors import UserError, suggestion

if TYPE_CHECKING:
    from espnet3.config.compose import Recipe

DESCRIPTION = "Run numbered stages of a recipe: 0 prepare, 1 collect_stats, 2 train, 3 validate"
EPILOG = f"""\
Everything else is a Hydra override of the recipe's configuration:
  optimizer.lr=1e-3      set a key (see --cfg job for all of them)
  +experiment=NAME       take conf/experiment/NAME.yaml of the recipe
  tag=NAME               use the run directory exp/NAME
  launcher=debug         run in this process, for pdb
With --multirun, overrides of several values, as a,b  range(1,4)  choice(a,b) or
glob(*), span a grid of trials. Each has a run directory of its own below
exp/sweeps/<tag>/trials; the same command again runs what is missing or failed,
and other values extend the sweep. With hydra/sweeper=optuna they are a space
that is searched: see conf/hydra/sweeper/optuna.yaml.
{EXIT_CODES}"""
FLAGS = (
    *("--stage", "--stop-stage", "--multirun", "--dry-run", "--detach", "--force"),
    *("--cfg", "--help", "--version"),
)


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    run = verbs.add_parser(
        "run", prog="run.sh", description=DESCRIPTION, epilog=EPILOG, help="run or submit stages of a recipe"
    )
    run.add_argument("--version", action="version", version=f"espnet3 {__version__}")
    run.add_argument(
        "--recipe", default=".", type=Path, metavar="DIR", help="the recipe's folder (set by run.sh)"
    )
    run.add_argument("--stage", metavar="S", help="first stage, by number or name (default: 0)")
    run.add_argument("--stop-stage", "--stop_stage", metavar="S", help="last stage (default: 3)")
    run.add_argument("--multirun", "-m", action="store_true", help="a sweep: one trial for each combination")
    run.add_argument("--dry-run", action="store_true", help="print what would be done; touch nothing")
    run.add_argument("--force", action="store_true", help="run finished stages again; old trainings are kept")
    run.add_argument("--detach", action="store_true", help="launcher=slurm: submit, say how to follow, exit")
    run.add_argument("--cfg", choices=["job"], help="print the resolved configuration and exit")
    run.set_defaults(main=main)


def main(options: argparse.Namespace, overrides: list[str]) -> int:
    """Compose, plan, and then print, run or submit."""
    _refuse_unknown_flags(overrides)
    _refuse_hydras_launchers(options, overrides)
    from espnet3.config.compose import compose, find_recipe
    from espnet3.launcher.planning.plan import plan, stage_range
    from espnet3.slurm.allocation import read_allocation

    stages = stage_range(options.stage, options.stop_stage)
    recipe = find_recipe(options.recipe)
    if options.multirun:
        return _sweep(options, overrides, recipe, stages)
    allocation = read_allocation(os.environ)
    config = compose(recipe, overrides, allocation)
    if options.cfg:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(config), end="")
        return 0
    jobs = plan(config, stages, allocation)
    if options.dry_run:
        from espnet3.launcher.dry_run import describe

        print("\n".join(describe(jobs, config, force=options.force)))
        return 0
    from espnet3.launcher.dispatch import dispatch
    from espnet3.terminal.screen import Screen

    return dispatch(
        jobs,
        config,
        force=options.force,
        detach=options.detach,
        command=[typed(options, overrides, recipe.directory)],
        screen=Screen(),
    )


def typed(options: argparse.Namespace, overrides: list[str], recipe: Path) -> str:
    """The command as one would type it anywhere: by the recipe's run.sh, if it has one."""
    script = recipe / "run.sh"
    words = [str(script)] if script.is_file() else ["espnet3", "run", "--recipe", str(recipe)]
    for flag, value in (("--stage", options.stage), ("--stop-stage", options.stop_stage)):
        words += [flag, value] if value is not None else []
    words += [flag for flag in ("--multirun", "--force", "--detach") if getattr(options, flag[2:])]
    return shlex.join([*words, *overrides])


def single_trial_command(
    options: argparse.Namespace, fixed: Sequence[str], recipe: "Recipe", name: str, own: Sequence[str]
) -> str:
    """The command that makes a trial of a sweep alone, in a run directory of its own.

    Args:
        options: of the sweep's command: `stage` and `stop_stage`.
        fixed: the overrides that all trials have.
        recipe: theirs.
        name: the trial's.
        own: its own overrides.
    """
    from espnet3.sweep.trials.grid import for_one_alone

    single = argparse.Namespace(**{**vars(options), "multirun": False, "force": False, "detach": False})
    return typed(single, [*for_one_alone(fixed), *own, f"tag={name}"], recipe.directory)


def _sweep(options: argparse.Namespace, overrides: list[str], recipe: "Recipe", stages: list[str]) -> int:
    """Expand the grid, and print it, or run or submit its trials; or search."""
    if options.cfg:
        raise UserError("--cfg shows one configuration: leave --multirun and the other values out")
    from espnet3.sweep.search.settings import asks_for_search

    if asks_for_search(recipe, overrides):
        return _search(options, overrides, recipe, stages)
    from functools import partial

    from espnet3.slurm.allocation import read_allocation
    from espnet3.sweep.command import plan_sweep, run_sweep, sweep_directory
    from espnet3.sweep.run import SweepOptions
    from espnet3.sweep.trials.expand import expand
    from espnet3.terminal.screen import Screen

    allocation = read_allocation(os.environ)
    expansion = expand(recipe, overrides, allocation)
    command = typed(options, overrides, recipe.directory)
    make = partial(
        plan_sweep,
        expansion,
        stages,
        command,
        partial(single_trial_command, options, expansion.fixed, recipe),
    )
    asked = SweepOptions(stages, command, options.force, options.detach, allocation)
    if options.dry_run:
        from espnet3.sweep.dry_run import describe

        print("\n".join(describe(make(), asked)))
        return 0
    return run_sweep(make, sweep_directory(expansion), asked, Screen())


def _refuse_hydras_launchers(options: argparse.Namespace, overrides: list[str]) -> None:
    for word in overrides:
        if word.startswith(("hydra/launcher=", "hydra.launcher.")):
            raise UserError(
                f"{word}: here launcher=slurm or local says where trials run; Hydra's own launchers are for"
                f" python -m espnet3.hydra_app --recipe {options.recipe} -m …"
            )


def _search(options: argparse.Namespace, overrides: list[str], recipe: "Recipe", stages: list[str]) -> int:
    """Search here, or submit a job that does, or print what would be done."""
    from espnet3.slurm.allocation import read_allocation
    from espnet3.sweep.trials.search_record import SearchRequest
    from espnet3.terminal.screen import Screen

    if options.force:
        raise UserError(
            "--force: a search runs no finished trial again: give tag=NAME for a search of its own"
        )
    single = argparse.Namespace(**{**vars(options), "multirun": False, "detach": False})
    wanted = SearchRequest(
        recipe=str(recipe.directory),
        overrides=overrides,
        stages=stages,
        command=typed(options, overrides, recipe.directory),
        single_trial_command=shlex.split(typed(single, [], recipe.directory)),
    )
    if options.dry_run:
        from espnet3.sweep.search.dry_run import describe

        print("\n".join(describe(wanted, read_allocation(os.environ), detach=options.detach)))
        return 0
    if options.detach:
        from espnet3.sweep.search.job import submit_search

        return submit_search(wanted, Screen())
    from espnet3.sweep.search.loop import run_search

    return run_search(wanted, Screen(), allocation=read_allocation(os.environ))


def _refuse_unknown_flags(overrides: list[str]) -> None:
    for word in overrides:
        if word.startswith("-"):
            raise UserError(f"{word}: there is no such flag; {suggestion(word.split('=')[0], FLAGS)}")
