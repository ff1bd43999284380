"""`espnet3 logs`: what a run printed."""

import argparse
from pathlib import Path
from typing import Any

from espnet3.commands.parser import EXIT_CODES, no_more
from espnet3.errors import UserError

DESCRIPTION = """\
Print what a run printed: by default rank 0 of the attempt that began last. Of a
failed attempt the traceback of the rank that failed first comes before the log,
of a killed one what Slurm said about it after the log."""
EPILOG = f"""\
Of a sweep it prints the first trial that failed, or the one that --trial names;
with -f alone it follows all trials, or the job that searches.
With -f it goes on over restarts and stages until nothing of the run is under
way, as the command does that started it; Ctrl-C ends only the looking.
Each log is a file: exp/<tag>/logs/<stage>/attempt-<k>/rank-<n>.log
{EXIT_CODES}
(without -f: 0, or 2)"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    logs = verbs.add_parser(
        "logs", description=DESCRIPTION, epilog=EPILOG, help="what a run printed, or prints"
    )
    logs.add_argument(
        "dir", type=Path, metavar="DIR", help="a run directory, such as exp/default, or a sweep"
    )
    logs.add_argument("--trial", metavar="T", help="of a sweep: a number as in its status, or a name")
    logs.add_argument("--stage", metavar="S", help="by number or name (default: the one that ran last)")
    logs.add_argument("--rank", type=int, default=0, metavar="N", help="which process (default: 0)")
    logs.add_argument("--attempt", type=int, metavar="K", help="which attempt (default: the last)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on while the run does")
    logs.set_defaults(main=main)


def main(options: argparse.Namespace, rest: list[str]) -> int:
    """Print the log, or follow it."""
    no_more(rest)
    if options.follow and options.attempt is not None:
        raise UserError("--attempt and -f don't go together: -f shows the attempts from the last one on")
    from espnet3.launcher.follow.logs import follow_logs, print_logs
    from espnet3.launcher.planning.plan import find_stage
    from espnet3.status.run_dirs import one_run_dir
    from espnet3.sweep.trials.folder import is_sweep
    from espnet3.terminal.screen import Screen

    stage = None if options.stage is None else find_stage(options.stage, "--stage").name
    if is_sweep(options.dir):
        from espnet3.sweep.show.logs import first_failed, trial_named, under_way

        if options.follow and options.trial is None:
            from espnet3.sweep.run import follow
            from espnet3.sweep.search.follow import follow_search

            code = follow_search(options.dir.resolve(), Screen())
            if code is not None:
                return code
            return follow(options.dir.resolve(), under_way(options.dir), Screen())
        named = options.trial is not None
        options.dir = (
            trial_named(options.dir, options.trial) if named else first_failed(options.dir, Screen())
        )
    elif options.trial is not None:
        raise UserError(f"--trial {options.trial}: {options.dir} is no sweep")
    exp_dir = one_run_dir(options.dir)
    if options.follow:
        return follow_logs(exp_dir, stage, options.rank, Screen())
    print_logs(exp_dir, stage, options.rank, options.attempt)
    return 0
