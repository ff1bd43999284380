"""`espnet3 status`: how any number of runs are."""

import argparse
from pathlib import Path
from typing import Any

from espnet3.commands.parser import no_more
from espnet3.errors import UserError

DESCRIPTION = """\
Show how runs are, in one table: from any shell, however they were started, from
their files and Slurm's queue (one squeue and at most one sacct for all runs)."""
EPILOG = """\
With one run every stage is shown; with several those not done, or the last one.
states:
  not started   described, but never submitted: `espnet3 resume` submits it
  queued        waits, for the reason that Slurm gives, or for an earlier stage
  held          Slurm won't start it before it is released, or it is suspended
  blocked       never started, because a stage before it was not done
  running       at work
  restarting    was at work, and starts again by itself
  done          finished
  stopped       has saved because it was asked to; `espnet3 resume` continues it
  cancelled     by a person
  failed        with what the first failing rank said; see `espnet3 logs`
  killed        ended from outside, without time to save
Of a sweep every trial is one line, and * marks the best one. A trial is queued,
running, done, failed, stopped, cancelled, killed, or missing: nothing has run
it, and `espnet3 resume` does.
columns:
  elapsed       of the attempt
  beat          how long ago rank 0 last wrote how far it is (minutes:seconds)
  utt/s         utterances per second, of all ranks together
  metric        the last loss, or what the last stage has measured
exit codes: 0; 2 a mistake in the command"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    status = verbs.add_parser(
        "status", description=DESCRIPTION, epilog=EPILOG, help="how runs are, from any shell"
    )
    status.add_argument(
        "dirs",
        nargs="*",
        type=Path,
        metavar="DIR",
        help="runs, sweeps, or folders that hold some (default: all of the recipe or clone we are in)",
    )
    status.add_argument("--watch", action="store_true", help="redraw until Ctrl-C")
    status.add_argument("--json", action="store_true", help="one document with every field")
    status.set_defaults(main=main)


def main(options: argparse.Namespace, rest: list[str]) -> int:
    """Print the table once, or again and again."""
    no_more(rest)
    if options.watch and options.json:
        raise UserError("--watch and --json don't go together: call --json as often as you need it")
    from espnet3.status.show import status, watch_status
    from espnet3.sweep.trials.folder import sort_out
    from espnet3.terminal.screen import Screen

    sweeps, runs = sort_out(options.dirs)
    if sweeps and runs and (options.watch or options.json):
        raise UserError(
            f"{runs[0]} is a run and {sweeps[0]} a sweep: watch, or write as JSON, one after the other"
        )
    screen = Screen()
    if sweeps:
        from espnet3.sweep.show.status import print_document, show_sweeps, watch_sweeps

        if options.watch:
            try:
                watch_sweeps(sweeps, screen)
            except KeyboardInterrupt:
                return 0
        (print_document(sweeps) if options.json else show_sweeps(sweeps, screen))
        if not runs:
            return 0
    if options.watch:
        try:
            watch_status(runs, screen)
        except KeyboardInterrupt:
            return 0
    status(runs, as_json=options.json, screen=screen)
    if not options.dirs and not options.json:
        from espnet3.sweep.show.status import mention_sweeps

        mention_sweeps(Path.cwd(), screen)
    return 0
