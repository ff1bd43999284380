"""`espnet3 resume`: submit the unfinished stages of runs again."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet3.commands.parser import EXIT_CODES, refuse_extra_arguments
from espnet3.errors import UserError, message_line

if TYPE_CHECKING:
    from espnet3.terminal.screen import Screen

DESCRIPTION = """\
Submit the unfinished stages of runs on Slurm with their recorded configuration.
An interrupted submission is completed; jobs that are queued already are kept.
After a job that failed, was stopped, cancelled or killed, its stage and the
later ones are submitted again; training continues from its newest checkpoint.
No stage is ever queued twice."""
EPILOG = f"""\
For a sweep or one of its trials, it runs the trials that are not done, on Slurm
or on this machine, as planned; not those of an older configuration. A search
continues until it has its number of trials.
A single run is then followed, as by the command that started it; Ctrl-C ends
only the following. For a run on this machine it prints the command that
continues it.
{EXIT_CODES}
(with --detach or several runs: 0 when all are queued or done)"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    resume = verbs.add_parser("resume", description=DESCRIPTION, epilog=EPILOG, help="continue runs")
    resume.add_argument(
        "dirs", nargs="+", type=Path, metavar="DIR", help="run directories, sweeps, or folders of them"
    )
    resume.add_argument("--detach", action="store_true", help="submit, say how to follow, exit")
    resume.set_defaults(main=main)


def main(options: argparse.Namespace, rest: list[str]) -> int:
    """Submit the unfinished stages; follow them if there is one run."""
    refuse_extra_arguments(rest, options)
    from espnet3.launcher.follow.jobs import print_how_to_follow
    from espnet3.launcher.resume import follow, resume
    from espnet3.status.run_dirs import run_dirs
    from espnet3.sweep.trials.folder import split_sweeps, sweep_of
    from espnet3.terminal.screen import Screen

    screen = Screen()
    sweeps, others = split_sweeps(options.dirs)
    trials = {path: sweep for path in others if (sweep := sweep_of(path))}
    named = [(sweep, None) for sweep in sweeps] + [
        (sweep, path.resolve().name) for path, sweep in trials.items()
    ]
    code = max([_sweep(sweep, trial, options, screen) for sweep, trial in named], default=0)
    runs = run_dirs([path for path in others if path not in trials]) if len(others) > len(trials) else []
    for run in runs:
        try:
            under_way = resume(run, screen)
        except UserError as error:
            if len(runs) == 1:
                raise
            print(message_line(error), file=sys.stderr)
            code = 2
            continue
        if under_way and len(runs) == 1 and not options.detach:
            return follow(run, under_way, screen)
        if under_way:
            print_how_to_follow(under_way, run, screen)
    return code


def _sweep(sweep: Path, trial: str | None, options: argparse.Namespace, screen: "Screen") -> int:
    """Resume a sweep, or one trial of it."""
    from espnet3.slurm.allocation import read_allocation
    from espnet3.sweep.resume import resume_sweep
    from espnet3.sweep.trials.search_record import read_search

    search = read_search(sweep) if trial is None else None
    if search is not None:
        from espnet3.sweep.search.job import submit_search
        from espnet3.sweep.search.loop import run_search

        if options.detach:
            return submit_search(search.request, screen, again=True)
        return run_search(search.request, screen, allocation=read_allocation(os.environ), retry_failed=True)
    named = shlex.join(map(str, options.dirs))
    return resume_sweep(
        sweep,
        screen,
        names=None if trial is None else [trial],
        detach=options.detach,
        command=f"espnet3 resume {named}",
        allocation=read_allocation(os.environ),
    )
