"""`espnet3 resume`: queue what is left of runs."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet3.commands.parser import EXIT_CODES, no_more
from espnet3.errors import UserError

if TYPE_CHECKING:
    from espnet3.terminal.screen import Screen

DESCRIPTION = """\
Submit what is left of runs on Slurm, with the configuration they were submitted
with. A submission that died half-way goes on: what is queued already is kept.
After a job that failed, was stopped, cancelled or killed, the stages from that
one on are submitted again; a training continues from its newest checkpoint.
Nothing is ever queued twice."""
EPILOG = f"""\
Of a sweep, or one trial of it, what is missing or did not end as done is run,
on Slurm or here, as planned. Trials of an older configuration are left alone.
A search goes on until it has its number of trials.
One run is then followed, as by the command that started it; Ctrl-C ends only
the looking. Of a run on this machine it names the command that continues it.
{EXIT_CODES}
(with --detach or several runs: 0 when all are queued or done)"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    resume = verbs.add_parser(
        "resume", description=DESCRIPTION, epilog=EPILOG, help="queue what is left of runs"
    )
    resume.add_argument(
        "dirs", nargs="+", type=Path, metavar="DIR", help="run directories, sweeps, or folders that hold some"
    )
    resume.add_argument("--detach", action="store_true", help="submit, say how to follow, exit")
    resume.set_defaults(main=main)


def main(options: argparse.Namespace, rest: list[str]) -> int:
    """Submit what is missing; follow it if it is one run."""
    no_more(rest)
    from espnet3.launcher.follow.jobs import tell_how_to_follow
    from espnet3.launcher.resume import follow, resume
    from espnet3.status.run_dirs import run_dirs
    from espnet3.sweep.trials.folder import sort_out, sweep_of
    from espnet3.terminal.screen import Screen

    screen = Screen()
    sweeps, others = sort_out(options.dirs)
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
            print(f"espnet3: {error}", file=sys.stderr)
            code = 2
            continue
        if under_way and len(runs) == 1 and not options.detach:
            return follow(run, under_way, screen)
        if under_way:
            tell_how_to_follow(under_way, run, screen)
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
            return submit_search(search.wanted, screen, again=True)
        return run_search(search.wanted, screen, allocation=read_allocation(os.environ), again=True)
    named = shlex.join(map(str, options.dirs))
    return resume_sweep(
        sweep,
        screen,
        names=None if trial is None else [trial],
        detach=options.detach,
        command=f"espnet3 resume {named}",
        allocation=read_allocation(os.environ),
    )
