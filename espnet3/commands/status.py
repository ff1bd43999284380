"""`espnet3 status`: show the status of runs."""

import argparse
from pathlib import Path
from typing import Any

from espnet3.commands.parser import refuse_extra_arguments
from espnet3.errors import UserError

DESCRIPTION = """\
Show the status of runs in one table, from any shell: read from their files and
Slurm's queue (one squeue and at most one sacct for all runs)."""
EPILOG = """\
One run: every stage is shown. Several runs: the unfinished stages, or the last.
states:
  not started   not submitted yet: `espnet3 resume` submits it
  queued        pending, for Slurm's reason, or waiting for an earlier stage
  held          held until it is released in Slurm, or suspended
  blocked       never started, because an earlier stage was not done
  running       its ranks run
  restarting    restarts by itself
  done          finished
  stopped       asked to stop, and saved; `espnet3 resume` continues it
  cancelled     by a user
  failed        with the error of the first failing rank; see `espnet3 logs`
  killed        ended from outside, without time to save
A sweep has one line per trial; * marks the best one. A trial is queued,
running, done, failed, stopped, cancelled, killed, or missing: not run yet, and
`espnet3 resume` runs it.
columns:
  elapsed       of the attempt
  beat          time since rank 0 last wrote its progress (minutes:seconds)
  utt/s         utterances per second, of all ranks together
  metric        the last loss, or the result of the last stage
  trained       share of the time on nodes that training batches took
kinds of time (--goodput), of all attempts; they add up to the time of the jobs:
  queued        from submission, or from its end before, to the job's start
  start-up      from a job's start, or an attempt's, to its first batch
  training, validation
  data          waiting for the next batch
  checkpoint    training stands still for one
  lost          work that no checkpoint held, to be done again
  hang          nothing was heard for long before an attempt ended
  stopping      from the last sign of a rank to the end of the attempt and job
  idle          nodes held between two attempts
  other         stages that do not train
With --json each run, and each trial of a sweep, has `goodput`: shares `trained`
and `kept` (all but start-up, lost, hang, stopping and idle); `seconds`,
`node_hours` and `gpu_hours` by kind; `rows`, one for each attempt.
exit codes: 0; 1 part is not shown, as a newer espnet3 has written it or it
can't be read, which is said; 2 a mistake in the command, or nothing is shown;
with --watch 141 when it is no longer read"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    status = verbs.add_parser(
        "status", description=DESCRIPTION, epilog=EPILOG, help="show the status of runs"
    )
    status.add_argument(
        "dirs",
        nargs="*",
        type=Path,
        metavar="DIR",
        help="runs, sweeps, or folders of them (default: all of the current recipe or clone)",
    )
    status.add_argument("--watch", action="store_true", help="redraw until Ctrl-C")
    status.add_argument("--json", action="store_true", help="one document with every field")
    status.add_argument(
        "--goodput",
        action="store_true",
        help="what the time was spent on, in seconds, node-hours and GPU-hours; with --json as `goodput`",
    )
    status.set_defaults(main=main)


def main(options: argparse.Namespace, rest: list[str]) -> int:
    """Print the table once or repeatedly."""
    refuse_extra_arguments(rest, options)
    if options.watch and options.json:
        raise UserError("--watch and --json don't go together: call --json repeatedly")
    if options.watch and options.goodput:
        raise UserError("--watch and --goodput don't go together: call --goodput repeatedly")
    from espnet3.status.show import status, watch_status
    from espnet3.sweep.trials.folder import split_sweeps
    from espnet3.terminal.output import closing_ends
    from espnet3.terminal.screen import Screen

    sweeps, runs = split_sweeps(options.dirs)
    if sweeps and runs and (options.watch or options.json):
        raise UserError(f"{runs[0]} is a run and {sweeps[0]} a sweep: give runs and sweeps separately")
    screen = Screen()
    if options.watch:
        closing_ends()
    if sweeps:
        from espnet3.sweep.show.status import print_document, show_sweeps, watch_sweeps

        if options.watch:
            try:
                watch_sweeps(sweeps, screen)
            except KeyboardInterrupt:
                return 0
        if options.json:
            print_document(sweeps, goodput=options.goodput)
        else:
            show_sweeps(sweeps, screen, goodput=options.goodput)
        if not runs:
            return 0
    if options.watch:
        try:
            watch_status(runs, screen)
        except KeyboardInterrupt:
            return 0
    code = status(runs, as_json=options.json, screen=screen, goodput=options.goodput)
    if not options.dirs and not options.json:
        from espnet3.sweep.show.status import mention_sweeps

        mention_sweeps(Path.cwd(), screen)
    return code
