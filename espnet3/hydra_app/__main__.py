"""`python -m espnet3.hydra_app --recipe DIR -m KEY=A,B …`: a multirun by any launcher that Hydra has.

Our launcher in it, `espnet3`, does what `run.sh --multirun` does, for whichever sweeper asks. For another
one, such as hydra-submitit-launcher's submitit_slurm, the sweep is written down, and Hydra runs its trials.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from espnet3.__main__ import exiting
from espnet3.commands.parser import EXIT_CODES, Parser
from espnet3.errors import UserError

OWN, GRID, SEARCH = "espnet3", "basic", "optuna"
"""Our launcher, Hydra's own sweeper, and the one whose name means a search of ours."""
PLUGINS = Path(__file__).with_name("plugins")
DESCRIPTION = "Run trials of a recipe by Hydra's launchers, such as hydra/launcher=submitit_slurm"
EPILOG = f"""\
Everything else is Hydra's: overrides, and flags (--hydra-help lists them).
The trials are those of `run.sh --multirun`, in the same directories. By default,
hydra/launcher=espnet3, they are as durable, too: launcher=slurm submits all of
them at once, and they go on without this command.
{EXIT_CODES}"""


def main(arguments: Sequence[str]) -> int:
    """Check what is asked for, write it down where Hydra will not, and call Hydra."""
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
        raise UserError("a training alone is run.sh's: give -m and several values, or a flag of Hydra's")
    return _call_hydra(options, words, shlex.join(["python", "-m", "espnet3.hydra_app", *arguments]))


def _call_hydra(options: argparse.Namespace, words: list[str], command: str) -> int:
    from espnet3.commands.run import single_trial_command
    from espnet3.config.compose import find_recipe
    from espnet3.hydra_app.settings import launcher_settings, settings, words_of
    from espnet3.hydra_app.trial import run_trial, write_down
    from espnet3.launcher.planning.plan import stage_range
    from espnet3.sweep.trials.expand import expand

    stages, recipe = stage_range(options.stage, options.stop_stage), find_recipe(options.recipe)
    given = [word for word in words if word.startswith("~") or ("=" in word and not word.startswith("-"))]
    flags = [word for word in words if word not in given]
    overrides = [word for word in given if not word.startswith("hydra.")]
    launcher, sweeper = _chosen("launcher", overrides) or OWN, _chosen("sweeper", overrides) or GRID
    if launcher == OWN:
        sys.path.append(str(PLUGINS))  # before Hydra looks for plugins; jobs of other launchers can't find it
    if sweeper == SEARCH:
        raise UserError(
            f"hydra/sweeper={SEARCH}: a search is run.sh's: run.sh --multirun hydra/sweeper={SEARCH} …"
        )
    own = settings(recipe)
    if launcher == OWN:
        own |= {"hydra/launcher": OWN, "hydra/hydra_logging": "none", "hydra/job_logging": "none"}
        asked = {"stages": stages, "command": command, "force": options.force, "detach": options.detach}
        own |= {f"hydra.launcher.{name}": value for name, value in asked.items()}
        given = [word for word in given if word != f"hydra/launcher={OWN}"]
    elif sweeper != GRID:
        raise UserError(
            f"hydra/sweeper={sweeper} hydra/launcher={launcher}: only a grid can be run by another launcher"
            " than ours: leave hydra/launcher out"
        )
    else:
        own |= launcher_settings(launcher)
    if options.multirun and sweeper == GRID:
        expansion = expand(recipe, overrides)  # Hydra's own words for a mistake are many
        if launcher != OWN:
            write_down(expansion, overrides, stages, command, partial(single_trial_command, options))
    import hydra
    from omegaconf import DictConfig

    @hydra.main(version_base=None, config_path=str(recipe.conf), config_name="config")
    def application(config: DictConfig) -> float | None:
        return run_trial(Path(config.recipe_dir), stages, command, force=options.force)

    multirun = ["--multirun"] if options.multirun else []
    sys.argv = [sys.argv[0], *multirun, *flags, *words_of(own), *given]
    application()
    return 0


def _chosen(group: str, overrides: Sequence[str]) -> str | None:
    """Which file of one of Hydra's own groups was chosen; None: it was left to us."""
    given = [word.partition("=")[2] for word in overrides if word.startswith(f"hydra/{group}=")]
    return given[-1] if given else None


if __name__ == "__main__":
    sys.exit(exiting(lambda: main(sys.argv[1:])))
