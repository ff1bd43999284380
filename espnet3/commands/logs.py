"""`espnet3 logs`: print or follow the log of a run."""

import argparse
from pathlib import Path
from typing import Any

from espnet3.commands.parser import EXIT_CODES, refuse_extra_arguments
from espnet3.errors import UserError

DESCRIPTION = """\
Print the log of a run: by default of rank 0 in the newest attempt. For a failed
attempt, the traceback of the first failing rank is printed before the log; for
a killed one, what Slurm reports about it after the log."""
EPILOG = f"""\
For a sweep it prints the log of the first failed trial, or of --trial; with -f
alone it follows all trials, or the searching job.
With -f it follows the run over restarts and stages to its end, as the command
does that started it; Ctrl-C ends only the following.
Each log is a file: exp/<tag>/logs/<stage>/attempt-<k>/rank-<n>.log
{EXIT_CODES}
(without -f: 0, or 2; with -f 141 when its output is no longer read)"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    logs = verbs.add_parser(
        "logs", description=DESCRIPTION, epilog=EPILOG, help="print or follow the log of a run"
    )
    logs.add_argument(
        "dir", type=Path, metavar="DIR", help="a run directory, such as exp/default, or a sweep"
    )
    logs.add_argument("--trial", metavar="T", help="trial of a sweep: a number as in its status, or a name")
    logs.add_argument("--stage", metavar="S", help="by number or name (default: the last one that ran)")
    logs.add_argument("--rank", type=int, default=0, metavar="N", help="rank (default: 0)")
    logs.add_argument("--attempt", type=int, metavar="K", help="attempt (default: the last)")
    logs.add_argument("-f", "--follow", action="store_true", help="follow until the run ends")
    logs.set_defaults(main=main)


def main(options: argparse.Namespace, rest: list[str]) -> int:
    """Print the log, or follow it."""
    refuse_extra_arguments(rest, options)
    if options.follow and options.attempt is not None:
        raise UserError("--attempt and -f don't go together: -f shows the attempts from the last one on")
    from espnet3.launcher.follow.logs import follow_logs, print_logs
    from espnet3.launcher.planning.plan import find_stage
    from espnet3.status.run_dirs import one_run_dir
    from espnet3.sweep.trials.folder import is_sweep
    from espnet3.terminal.output import closing_ends
    from espnet3.terminal.screen import Screen

    if options.follow:
        closing_ends()
    stage = None if options.stage is None else find_stage(options.stage, "--stage").name
    if is_sweep(options.dir):
        from espnet3.sweep.show.logs import find_first_failed, find_trial, trials_under_way

        if options.follow and options.trial is None:
            from espnet3.sweep.run import follow
            from espnet3.sweep.search.follow import follow_search

            code = follow_search(options.dir.resolve(), Screen())
            if code is not None:
                return code
            return follow(options.dir.resolve(), trials_under_way(options.dir), Screen())
        named = options.trial is not None
        options.dir = (
            find_trial(options.dir, options.trial) if named else find_first_failed(options.dir, Screen())
        )
    elif options.trial is not None:
        raise UserError(f"--trial {options.trial}: {options.dir} is no sweep")
    exp_dir = one_run_dir(options.dir)
    if options.follow:
        return follow_logs(exp_dir, stage, options.rank, Screen())
    print_logs(exp_dir, stage, options.rank, options.attempt)
    return 0
