"""The warm process of a command: what the command runs on this machine, ranks and trials, are forks of it.

It imports what stages need once, and only when the first of them does. A fork that runs stages itself, such
as a trial, forks a warm process of its own.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

from espnet3.launcher.rank.process_exit import exit_after
from espnet3.launcher.rank.warm.fork_server import Asked, serve, set_up_fork, take_signals
from espnet3.stages.preloading import import_in_advance, preload


@dataclass(frozen=True)
class ForkRequest:
    """A request, sent as one line: fork one process for each of `arguments`, or signal forks."""

    function: str = ""
    """Dotted name of the function that each fork calls."""
    first: int = 0
    """Number of the first fork; the others follow."""
    arguments: Sequence[Sequence[str]] = ()
    """Of each fork's call."""
    output: Sequence[str] = ()
    """The file to which each prints."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The whole environment of the forks."""
    folder: str = ""
    """Their working directory."""
    needs_torch: bool = False
    """Whether to import what trainings need before the forks are made."""
    imports: Sequence[str] = ()
    """Further modules to import before, as far as they are there; none of a recipe."""
    death_signal: int = signal.SIGKILL
    """What a fork gets when the warm process is gone."""
    signal: int = 0
    to: int | None = None
    """Number of the fork to signal; None: all."""

    def line(self) -> bytes:
        """The request as it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"


loaded_with: Mapping[str, str] | None = None
"""The environment with which this process's libraries were loaded, if it is warm or a fork of a warm one."""


def main(*loaded: str) -> NoReturn:
    """Serve requests until standard input ends.

    Args:
        loaded: NAME=VALUE of the variables that libraries read as they are loaded; they are set already.
    """
    global loaded_with
    loaded_with = dict(word.split("=", 1) for word in loaded)
    exits_fd = os.dup(1)
    os.dup2(2, 1)  # what an import prints is no exit
    serve_forks(exits_fd)


def serve_forks(exits_fd: int) -> NoReturn:
    """Serve requests on standard input, write exits to `exits_fd`; in each fork: call the function."""
    handlers = take_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on the terminal is for the command
    server, environment = os.getpid(), dict(os.environ)
    to_run = serve(_parse, exits_fd, handlers)
    if to_run is None:
        os._exit(0)
    request, index = to_run
    set_up_fork(Path(request.output[index]), server, signal.Signals(request.death_signal))
    os.chdir(request.folder)
    set_by_imports = {name: text for name, text in os.environ.items() if environment.get(name) != text}
    os.environ.clear()
    os.environ.update(request.environment, **set_by_imports)
    importlib.invalidate_caches()  # a recipe may have been edited
    module, _, name = request.function.rpartition(".")
    sys.argv[:] = [request.function, *request.arguments[index]]
    exit_after(partial(getattr(importlib.import_module(module), name), *request.arguments[index]))


def _parse(line: bytes) -> Asked[tuple[ForkRequest, int]]:
    request = ForkRequest(**json.loads(line))
    if request.needs_torch:
        preload()
    if request.function:
        import_in_advance((request.function.rpartition(".")[0], *request.imports))
    work = {request.first + index: (request, index) for index in range(len(request.arguments))}
    return Asked(work, request.signal, request.to)
