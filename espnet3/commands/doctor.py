"""`espnet3 doctor`: check that recipes can run on this cluster, and write a site file for it."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from espnet3.commands.parser import refuse_extra_arguments
from espnet3.errors import UserError, cannot_write

DESCRIPTION = """\
Check a cluster before jobs are submitted to it: Slurm's commands and settings,
your accounts and partitions, whether sbatch accepts the jobs as configured and,
by a probe job, whether nodes see the run directory and Python, reach each
other, and have the requested GPUs."""
EPILOG = """\
Overrides set the resources of the jobs and of the probe:
  espnet3 doctor resources.train.partition=gpu resources.train.gpus_per_node=2
  espnet3 doctor resources.train.nodes=4 --wait 30
lines: ✓ correct; · information; ✗ a problem, and how to fix it
exit codes: 0 no problem; 1 a problem; 2 a mistake in the command; 130 ended by
Ctrl-C, the probe job is cancelled"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    doctor = verbs.add_parser(
        "doctor", description=DESCRIPTION, epilog=EPILOG, help="check a cluster; write a site file for it"
    )
    doctor.add_argument(
        "--recipe",
        default=".",
        type=Path,
        metavar="DIR",
        help="use this recipe's configuration and run directory (default: the current one, if any)",
    )
    doctor.add_argument("--no-job", action="store_true", help="submit no probe job")
    doctor.add_argument(
        "--wait",
        type=_minutes,
        default=5.0,
        metavar="MINUTES",
        help="time the probe job may wait and run before it is cancelled (default: 5)",
    )
    doctor.add_argument(
        "--write-site",
        nargs="?",
        const="",
        metavar="-",
        help="only write a site file for this cluster, if there is none; with - print it",
    )
    doctor.set_defaults(main=main)


def main(options: argparse.Namespace, overrides: list[str]) -> int:
    """Write a site file, or run the checks."""
    flags = [word for word in overrides if word.startswith("-")]
    if flags:
        refuse_extra_arguments(flags, options)
    if options.write_site is not None:
        if options.write_site not in ("", "-") or overrides:
            given = options.write_site or overrides[0]
            raise UserError(
                f"--write-site {given}: takes nothing, or - to print; overrides have no meaning here"
            )
        return _write_site(to_stdout=options.write_site == "-")
    from espnet3.config.compose import compose, find_recipe
    from espnet3.config.shared_resources import compose_resources
    from espnet3.doctor.examine import examine
    from espnet3.resources import Resources
    from espnet3.stage_table import STAGES

    if (options.recipe / "conf" / "config.yaml").is_file() or options.recipe != Path():
        recipe = find_recipe(options.recipe)
        config, files = compose(recipe, overrides), sorted(recipe.conf.glob("*.yaml"))
        exp_dir = Path(config.exp_dir)
    else:
        config, files, exp_dir = compose_resources(overrides), [], Path.cwd()
    resources = {stage: Resources.of(config, stage) for stage in STAGES}
    nodes_given = any(word.startswith("resources.train.nodes=") for word in overrides)
    is_ok = examine(
        resources,
        exp_dir,
        files=files,
        nodes=resources["train"].nodes if nodes_given else None,
        probe=not options.no_job,
        wait_s=60 * options.wait,
    )
    return 0 if is_ok else 1


def _write_site(*, to_stdout: bool) -> int:
    from espnet3.config.site import site_path
    from espnet3.doctor.site_text import site_text
    from espnet3.slurm.site.cluster import COMMANDS, ask_cluster

    path = site_path(os.environ)
    if not to_stdout and path.exists():
        raise UserError(f"{path} is there already: move it aside, or print one with --write-site -")
    cluster = ask_cluster()
    absent = [name for name in COMMANDS if name in cluster.missing]
    if absent or cluster.away:
        why = cluster.away or f"{', '.join(absent)} not on PATH"
        raise UserError(f"no cluster to write a site file for ({why}); conf/site.yaml is a template to copy")
    text = site_text(cluster, os.environ, date=time.strftime("%Y-%m-%d"))
    if to_stdout:
        sys.stdout.write(text)
        return 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise cannot_write(error, path) from error
    print(f"wrote {path}: every recipe reads it from now on")
    return 0


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: takes minutes, more than 0")
    return minutes
