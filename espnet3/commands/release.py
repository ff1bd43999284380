"""`espnet3 release`: free directories whose owner died on another machine."""

import argparse
import sys
from pathlib import Path
from typing import Any

from espnet3.commands.parser import refuse_extra_arguments
from espnet3.errors import UserError

DESCRIPTION = """\
Free directories that a command on another machine, such as the other login
node, holds, and which died there without a trace: whether it lives can't be
seen from here. Shows who holds them, since when, and the age of the last
heartbeat, and asks. A process that is known to live is never touched."""
EPILOG = """\
exit codes: 0, also with nothing to release; 1 an answer was no; 2 a mistake, or
the process is alive"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    release = verbs.add_parser(
        "release",
        description=DESCRIPTION,
        epilog=EPILOG,
        help="free a directory whose owner died on another machine",
    )
    release.add_argument("dirs", nargs="+", type=Path, metavar="DIR", help="run directories, sweeps, …")
    release.add_argument("--yes", action="store_true", help="don't ask: the processes are known to be gone")
    release.set_defaults(main=main)


def main(options: argparse.Namespace, rest: list[str]) -> int:
    """Show who holds the directories, ask, and release them."""
    refuse_extra_arguments(rest, options)
    from espnet3.launcher.release import release
    from espnet3.terminal.screen import Screen

    screen = Screen()

    def confirm(holder: str) -> bool:
        if not options.yes and not sys.stdin.isatty():
            raise UserError(f"{holder}: if that process is gone, give --yes")
        screen.line(holder)
        return options.yes or input("is that process gone? [y/N] ").strip().lower() in ("y", "yes")

    return 0 if release(options.dirs, screen.line, confirm) else 1
