"""`espnet3 cancel`: end what runs have queued or running."""

import argparse
from pathlib import Path
from typing import Any

from espnet3.commands.parser import no_more

DESCRIPTION = """\
Cancel the jobs that runs have in Slurm, queued and running ones, and ask a
command that runs stages on this machine to stop. A running stage saves first;
Slurm leaves it some time for that (KillWait, usually 30 s)."""
EPILOG = """\
It returns when Slurm has been told, as scancel does, with --wait when all is
gone. What was cancelled stays cancelled until `espnet3 resume` continues it.
exit codes: 0, also with nothing to cancel; 2 a mistake, or no answer of Slurm"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    cancel = verbs.add_parser(
        "cancel", description=DESCRIPTION, epilog=EPILOG, help="end what runs have going on"
    )
    cancel.add_argument(
        "dirs", nargs="+", type=Path, metavar="DIR", help="run directories, sweeps, or folders that hold some"
    )
    cancel.add_argument("--wait", action="store_true", help="return when everything has ended")
    cancel.set_defaults(main=main)


def main(options: argparse.Namespace, rest: list[str]) -> int:
    """Cancel, and say what was done."""
    no_more(rest)
    from espnet3.launcher.cancel import cancel_runs
    from espnet3.status.run_dirs import run_dirs
    from espnet3.sweep.trials.folder import sort_out
    from espnet3.terminal.screen import Screen

    sweeps, runs = sort_out(options.dirs)
    for sweep in sweeps:
        from espnet3.sweep.cancel import cancel_sweep

        cancel_sweep(sweep, Screen(), wait=options.wait)
    if runs:
        cancel_runs(run_dirs(runs), Screen(), wait=options.wait)
    return 0
