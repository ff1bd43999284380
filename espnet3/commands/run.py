"""`espnet3 run`, which every recipe's run.sh calls: run or submit stages of a recipe."""

import argparse
from pathlib import Path
from typing import Any

from espnet3 import __version__
from espnet3.commands.parser import EXIT_CODES
from espnet3.errors import UserError, suggestion
from espnet3.rundir.records.data_check import LEVELS
from espnet3.stage_table import STAGES, numbered

EPILOG = f"""\
Everything else is a Hydra override of the recipe's configuration:
  optimizer.lr=1e-3      set a key (see --cfg job for all of them)
  +experiment=NAME       take conf/experiment/NAME.yaml of the recipe
  tag=NAME               use the run directory exp/NAME
  launcher=debug         run in this process, for pdb
With --multirun, overrides of several values, as a,b  range(1,4)  choice(a,b) or
glob(*), span a grid of trials, each with its own run directory below
exp/sweeps/<tag>/trials. The same command again runs the missing and failed
trials; other values extend the sweep. With hydra/sweeper=optuna the overrides
are a search space: see conf/hydra/sweeper/optuna.yaml.
{EXIT_CODES}"""
FLAGS = (
    *("--stage", "--stop-stage", "--multirun", "--dry-run", "--detach", "--force"),
    *("--check", "--cfg", "--help", "--version"),
)


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    first, *_, last = STAGES.values()
    run = verbs.add_parser(
        "run",
        prog="run.sh",
        description=f"Run numbered stages of a recipe: {numbered()}",
        epilog=EPILOG,
        help="run or submit stages of a recipe",
    )
    run.add_argument("--version", action="version", version=f"espnet3 {__version__}")
    run.add_argument(
        "--recipe", default=".", type=Path, metavar="DIR", help="the recipe's folder (set by run.sh)"
    )
    run.add_argument("--stage", metavar="S", help=f"first stage, by number or name (default: {first.number})")
    run.add_argument("--stop-stage", "--stop_stage", metavar="S", help=f"last stage (default: {last.number})")
    run.add_argument("--multirun", "-m", action="store_true", help="a sweep: one trial per combination")
    run.add_argument("--dry-run", action="store_true", help="print the plan and scripts; write nothing")
    run.add_argument(
        "--check", choices=LEVELS, help="of the data, before stage 1: every sample (default), headers, none"
    )
    run.add_argument("--force", action="store_true", help="run finished stages again; old trainings are kept")
    run.add_argument("--detach", action="store_true", help="launcher=slurm: submit, say how to follow, exit")
    run.add_argument("--cfg", choices=["job"], help="print the resolved configuration and exit")
    run.set_defaults(main=main)


def main(options: argparse.Namespace, overrides: list[str]) -> int:
    """Plan the command; then print the plan, run or submit it."""
    _refuse_unknown_flags(overrides)
    if options.cfg and options.multirun:
        raise UserError("--cfg shows one configuration: leave out --multirun, and give one value per key")
    from espnet3.api.command import Command

    command = Command(
        recipe=options.recipe,
        overrides=[*overrides, *([f"check_data={options.check}"] if options.check else [])],
        stage=options.stage,
        stop_stage=options.stop_stage,
        multirun=options.multirun,
        force=options.force,
        detach=options.detach,
    )
    if options.cfg:
        command.check()
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(command.compose()), end="")
        return 0
    from espnet3.api.plan import plan_command
    from espnet3.terminal.screen import Screen

    plan = plan_command(command)
    if options.dry_run:
        print("\n".join(plan.describe()))
        return 0
    return plan.run(Screen())


def _refuse_unknown_flags(overrides: list[str]) -> None:
    for word in overrides:
        if word.startswith("-"):
            raise UserError(f"{word}: there is no such flag; {suggestion(word.split('=')[0], FLAGS)}")
