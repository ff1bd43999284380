"""`python -m espnet3.hydra_app --recipe DIR -m KEY=A,B …`: a multirun by any of Hydra's launchers.

Our launcher, `espnet3`, runs the trials of any sweeper as `run.sh --multirun` does. For another launcher,
such as hydra-submitit-launcher's submitit_slurm, the sweep is recorded, and Hydra runs its trials.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet3.__main__ import exiting
from espnet3.commands.parser import EXIT_CODES, Parser
from espnet3.errors import UserError
from espnet3.terminal.output import keep_output

OUR_LAUNCHER, GRID, SEARCH = "espnet3", "basic", "optuna"
"""Our launcher, Hydra's grid sweeper, and the sweeper whose name selects our search."""
PLUGINS = Path(__file__).with_name("plugins")
DESCRIPTION = "Run trials of a recipe with Hydra's launchers, as hydra/launcher=submitit_slurm"
EPILOG = f"""\
Everything else is Hydra's: overrides, and flags (--hydra-help lists them).
The trials are those of `run.sh --multirun`, in the same directories. With the
default, hydra/launcher=espnet3, and launcher=slurm all trials are submitted at
once, and go on without this command.
{EXIT_CODES}"""


def main(arguments: Sequence[str]) -> int:
    """Check the command line, record the sweep for Hydra's launchers, and call Hydra."""
    parser = Parser(prog="python -m espnet3.hydra_app", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--recipe", default=".", type=Path, metavar="DIR", help="the recipe's folder")
    parser.add_argument("--stage", default="2", metavar="S", help="a trial's first stage (default: 2)")
    parser.add_argument("--stop-stage", metavar="S", help="a trial's last stage (default: 3)")
    parser.add_argument("--multirun", "-m", action="store_true", help="run trials, one for each combination")
    parser.add_argument("--force", action="store_true", help="run finished trials again")
    parser.add_argument(
        "--detach", action="store_true", help="launcher=slurm: submit, say how to follow, exit"
    )
    options, words = parser.parse_known_args(list(arguments))
    if not options.multirun and not any(word.startswith("-") for word in words):
        raise UserError("a single training is for run.sh: give -m and several values, or a flag of Hydra")
    return _call_hydra(options, words, shlex.join(["python", "-m", "espnet3.hydra_app", *arguments]))


def _call_hydra(options: argparse.Namespace, words: list[str], command: str) -> int:
    from espnet3.api.command import Command
    from espnet3.config.compose import find_recipe
    from espnet3.hydra_app.settings import hydra_settings, launcher_settings, to_overrides
    from espnet3.hydra_app.trial import record_trials, run_trial
    from espnet3.launcher.planning.plan import stage_range
    from espnet3.sweep.trials.expand import expand

    stages, recipe = stage_range(options.stage, options.stop_stage), find_recipe(options.recipe)
    hydra_overrides = [
        word for word in words if word.startswith("~") or ("=" in word and not word.startswith("-"))
    ]
    flags = [word for word in words if word not in hydra_overrides]
    overrides = [word for word in hydra_overrides if not word.startswith("hydra.")]
    launcher, sweeper = _chosen("launcher", overrides) or OUR_LAUNCHER, _chosen("sweeper", overrides) or GRID
    if launcher == OUR_LAUNCHER:
        sys.path.append(str(PLUGINS))  # before Hydra looks for plugins; jobs of other launchers can't find it
    if sweeper == SEARCH:
        raise UserError(
            f"hydra/sweeper={SEARCH}: a search is for run.sh: run.sh --multirun hydra/sweeper={SEARCH} …"
        )
    added = hydra_settings(recipe)
    if launcher == OUR_LAUNCHER:
        added |= {"hydra/launcher": OUR_LAUNCHER, "hydra/hydra_logging": "none", "hydra/job_logging": "none"}
        launcher_options = {
            "stages": stages,
            "command": command,
            "force": options.force,
            "detach": options.detach,
        }
        added |= {f"hydra.launcher.{name}": value for name, value in launcher_options.items()}
        hydra_overrides = [word for word in hydra_overrides if word != f"hydra/launcher={OUR_LAUNCHER}"]
    elif sweeper != GRID:
        raise UserError(
            f"hydra/sweeper={sweeper} hydra/launcher={launcher}: other launchers than ours run only"
            " grids: leave hydra/launcher out"
        )
    else:
        added |= launcher_settings(launcher)
    if options.multirun and sweeper == GRID:
        expansion = expand(recipe, overrides)  # mistakes are reported in one line, before Hydra does
        if launcher != OUR_LAUNCHER:
            single = Command(recipe.directory, stage=options.stage, stop_stage=options.stop_stage)
            record_trials(expansion, overrides, stages, command, single.single_trial)
    import hydra
    from omegaconf import DictConfig

    @hydra.main(version_base=None, config_path=str(recipe.conf), config_name="config")
    def application(config: DictConfig) -> float | None:
        return run_trial(Path(config.recipe_dir), stages, command, force=options.force)

    multirun = ["--multirun"] if options.multirun else []
    sys.argv = [sys.argv[0], *multirun, *flags, *to_overrides(added), *hydra_overrides]
    application()
    return 0


def _chosen(group: str, overrides: Sequence[str]) -> str | None:
    """The choice of one of Hydra's config groups; None if there is none."""
    choices = [word.partition("=")[2] for word in overrides if word.startswith(f"hydra/{group}=")]
    return choices[-1] if choices else None


if __name__ == "__main__":
    keep_output()
    sys.exit(exiting(lambda: main(sys.argv[1:])))
