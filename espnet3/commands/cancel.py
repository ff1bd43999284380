"""`espnet3 cancel`: end queued and running jobs and local runs."""

import argparse
from pathlib import Path
from typing import Any

from espnet3.commands.parser import refuse_extra_arguments

DESCRIPTION = """\
Cancel the queued and running Slurm jobs of runs, and ask commands that run
stages on this machine to stop. A running stage saves first; Slurm leaves it
some time for that (KillWait, usually 30 s)."""
EPILOG = """\
It returns as soon as Slurm has accepted, as scancel does; with --wait when
everything has ended. `espnet3 resume` continues what was cancelled.
exit codes: 0, also with nothing to cancel; 2 a mistake, or no answer of Slurm"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    cancel = verbs.add_parser(
        "cancel", description=DESCRIPTION, epilog=EPILOG, help="cancel jobs and local runs"
    )
    cancel.add_argument(
        "dirs", nargs="+", type=Path, metavar="DIR", help="run directories, sweeps, or folders of them"
    )
    cancel.add_argument("--wait", action="store_true", help="return when everything has ended")
    cancel.set_defaults(main=main)


def main(options: argparse.Namespace, rest: list[str]) -> int:
    """Cancel, and print the result."""
    refuse_extra_arguments(rest, options)
    from espnet3.launcher.cancel import cancel_runs
    from espnet3.status.run_dirs import run_dirs
    from espnet3.sweep.trials.folder import split_sweeps
    from espnet3.terminal.screen import Screen

    sweeps, runs = split_sweeps(options.dirs)
    for sweep in sweeps:
        from espnet3.sweep.cancel import cancel_sweep

        cancel_sweep(sweep, Screen(), wait=options.wait)
    if runs:
        cancel_runs(run_dirs(runs), Screen(), wait=options.wait)
    return 0
