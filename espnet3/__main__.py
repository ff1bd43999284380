"""The command line: `espnet3 run`, which every recipe's run.sh calls."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from espnet3 import __version__
from espnet3.errors import UserError

DESCRIPTION = "Run numbered stages of a recipe: 0 prepare, 1 collect_stats, 2 train, 3 validate."
EPILOG = """\
Everything else is a Hydra override of the recipe's configuration:
  optimizer.lr=1e-3      set a key (see --cfg job for all of them)
  +experiment=NAME       take conf/experiment/NAME.yaml of the recipe
  tag=NAME               use the run directory exp/NAME
  launcher=debug         run in this process, for pdb
exit codes: 0 done; 1 something failed; 2 a mistake in the command, nothing was
started; 75 stopped, the same command continues; 130 ended by a second Ctrl-C"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; a user's mistake is one line and 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except UserError as error:
        print(f"espnet3: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A wrong flag is a mistake like any other: one line."""
        raise UserError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="espnet3", description="Launch recipes here or on Slurm.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"espnet3 {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="run")
    run = verbs.add_parser(
        "run",
        prog="run.sh",
        description=DESCRIPTION,
        epilog=EPILOG,
        help=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run.add_argument("--version", action="version", version=f"espnet3 {__version__}")
    run.add_argument(
        "--recipe", default=".", type=Path, metavar="DIR", help="the recipe's folder (set by run.sh)"
    )
    run.add_argument("--stage", metavar="S", help="first stage, by number or name (default: 0)")
    run.add_argument("--stop-stage", "--stop_stage", metavar="S", help="last stage (default: 3)")
    run.add_argument("--dry-run", action="store_true", help="print what would be done; touch nothing")
    run.add_argument("--force", action="store_true", help="run finished stages again; old trainings are kept")
    run.add_argument("--cfg", choices=["job"], help="print the resolved configuration and exit")
    return parser


def _run(words: list[str]) -> int:
    parser = _parser()
    options, overrides = parser.parse_known_args(words)
    if options.verb is None:
        parser.print_help()
        return 0
    _refuse_unknown_flags(overrides)
    # Imported only now: --help and --version need none of it.
    from espnet3.config.compose import compose, find_recipe
    from espnet3.launch.plan import plan, stage_range

    stages = stage_range(options.stage, options.stop_stage)
    recipe = find_recipe(options.recipe)
    config = compose(recipe, overrides)
    if options.cfg:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(config), end="")
        return 0
    jobs = plan(config, stages)
    if options.dry_run:
        from espnet3.launch.dry_run import describe

        print("\n".join(describe(jobs, config, force=options.force)))
        return 0
    from espnet3.launch.run import run_jobs
    from espnet3.launch.screen import Screen

    command = [shlex.join(["run.sh", *words])]
    return run_jobs(jobs, config, force=options.force, command=command, screen=Screen())


def _refuse_unknown_flags(overrides: list[str]) -> None:
    from espnet3.config.overrides import nearest

    flags = ("--stage", "--stop-stage", "--dry-run", "--force", "--cfg", "--help", "--version")
    for word in overrides:
        if word.startswith("-"):
            guess = nearest(word.split("=")[0], flags)
            hint = f"did you mean {guess[0]}?" if guess else f"known are {', '.join(flags)}"
            raise UserError(f"{word}: there is no such flag; {hint}")


if __name__ == "__main__":
    sys.exit(main())
