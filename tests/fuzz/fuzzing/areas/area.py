"""What each kind of input has: things made once, and a case for each seed."""

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from random import Random
from typing import ClassVar

from fuzzing.case import Case
from fuzzing.sandbox import Sandbox


class Area(ABC):
    """A kind of input."""

    name: ClassVar[str]
    """On command lines."""

    @abstractmethod
    def prepare(self, sandbox: Sandbox) -> None:
        """Fill the sandbox, and import what cases need, once."""

    @abstractmethod
    def make(self, random: Random, sandbox: Sandbox) -> Case:
        """A case; it may damage files of the sandbox, and draws everything from `random`."""


def quiet_environment() -> None:
    """Nothing of the person who runs the fuzzers decides a case."""
    os.environ["ESPNET3_SITE"] = os.devnull
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["COLUMNS"] = "100"


def warm_up(main: Callable[[list[str]], int], *lines: Sequence[str]) -> None:
    """Run command lines that write nothing, so that what they import is imported once for all cases."""
    for line in lines:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            main(list(line))
