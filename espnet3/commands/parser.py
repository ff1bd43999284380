"""An argument parser whose mistakes are the user's: one line, exit code 2."""

import argparse
from typing import Any, NoReturn

from espnet3.errors import UserError

EXIT_CODES = """\
exit codes: 0 done; 1 something failed; 2 a mistake in the command, nothing was
started; 75 stopped, the same command continues; 130 ended by Ctrl-C"""


class Parser(argparse.ArgumentParser):
    """As argparse's, but a wrong flag is a UserError."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """A wrong flag is a mistake like any other: one line."""
        raise UserError(message)


def no_more(rest: list[str]) -> None:
    """Refuse words that no flag and no argument has taken.

    Raises:
        UserError: naming the first.
    """
    if rest:
        raise UserError(f"{rest[0]}: there is no such flag; --help lists them")
