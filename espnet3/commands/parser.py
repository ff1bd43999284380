"""An argument parser that reports mistakes as UserError: one line, exit code 2."""

import argparse
import re
from typing import Any, NoReturn

from espnet3.errors import UserError, suggestion

EXIT_CODES = """\
exit codes: 0 done; 1 something failed; 2 a mistake in the command, nothing was
started; 75 stopped, the same command continues; 130 ended by Ctrl-C"""


class Parser(argparse.ArgumentParser):
    """argparse's parser, but mistakes raise UserError."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise a UserError instead of printing the usage."""
        raise UserError(message)


def refuse_extra_arguments(rest: list[str], options: argparse.Namespace) -> None:
    """Refuse arguments that no flag and no positional argument has taken.

    Args:
        rest: these arguments.
        options: with the `parser` of the verb.

    Raises:
        UserError: naming the first.
    """
    if rest:
        flags = flags_of(options.parser)
        hint = suggestion(rest[0].partition("=")[0], flags, otherwise="--help lists them")
        raise UserError(f"{rest[0]}: there is no such flag; {hint}")


def flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """The flags that a parser takes, as its help lists them."""
    return re.findall(r"^  (?:-\w(?: \w+)?, )?(--[a-z][a-z_-]*)", parser.format_help(), re.MULTILINE)
