"""The command line: `espnet3 VERB`, of which every recipe's run.sh calls `run`."""

import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from espnet3 import __version__
from espnet3.commands import cancel, doctor, logs, release, report, resume, run, status
from espnet3.commands.parser import Parser
from espnet3.errors import UserError, message_line, short_path, suggestion
from espnet3.terminal.output import READER_GONE, ReaderGone, keep_output, lost_output

VERBS = (run, status, logs, cancel, resume, release, report, doctor)

OF_THE_MACHINE = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ESTALE", "EMFILE", "ENFILE"),
        *("ENAMETOOLONG", "ELOOP", "ETIMEDOUT", "ENOTCONN"),
    )
)
"""What files and disks refuse, such as for want of space: no bug, whose traceback would help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; a user's mistake is one line and 2."""
    if arguments is None:
        keep_output()
    words = list(sys.argv[1:] if arguments is None else arguments)
    return exiting(lambda: _run(words))


def exiting(command: Callable[[], int]) -> int:
    """The exit code of a command; a mistake of the user, or what the machine refuses, is said in one line."""
    try:
        _check_working_directory()
        code = command()
        problem = lost_output()
    except UserError as error:
        print(message_line(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except ReaderGone:  # `espnet3 logs -f DIR | head`
        return READER_GONE
    except RuntimeError as error:  # of Path.resolve
        if not str(error).startswith("Symlink loop"):
            raise
        print(
            message_line(f"{str(error).partition(' from ')[2]} is a link that leads to itself"),
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        where = f"{short_path(error.filename)}: " if isinstance(error.filename, str) else ""
        print(message_line(f"{where}{error.strerror}"), file=sys.stderr)
        return 1
    if problem is not None:
        print(f"espnet3: can't write what it prints: {problem.strerror}", file=sys.stderr)
        return code or 1
    return code


def _check_working_directory() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("the working directory of this shell was removed: cd to another one") from None


def _run(words: list[str]) -> int:
    parser = Parser(prog="espnet3", description="Launch recipes here or on Slurm, and see how they are.")
    parser.add_argument("--version", action="version", version=f"espnet3 {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for verb in VERBS:
        verb.add(verbs)
    first = next((word for word in words if not word.startswith("-")), None)
    if first is not None and first not in verbs.choices:
        raise UserError(f"{first}: there is no such verb; {suggestion(first, verbs.choices)}")
    options, rest = parser.parse_known_args(words)
    if options.verb is None:
        parser.print_help()
        return 0
    options.parser = verbs.choices[options.verb]
    code: int = options.main(options, rest)
    return code


if __name__ == "__main__":
    sys.exit(main())
