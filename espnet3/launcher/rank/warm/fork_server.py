"""A process that forks others: one for each piece of work that is asked for; it passes signals on to them.

Requests come as lines on standard input. The exit of each fork is reported as a line "NUMBER CODE". This
process computes nothing, so that a fork of it equals a fresh process after the same imports.
"""

import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from espnet3.launcher.rank.interrupts import STOP_SIGNALS
from espnet3.parent_death import signal_on_parent_death

Work = TypeVar("Work")


@dataclass(frozen=True)
class Asked(Generic[Work]):
    """What a line asks for: to fork, or to signal forks that run."""

    work: Mapping[int, Work] = field(default_factory=dict)
    """Number of a fork -> what it does."""
    signal: int = 0
    to: int | None = None
    """The fork to signal; None: all."""


def take_signals() -> dict[int, Any]:
    """Let signals be for the forks, to which `serve` passes them on; returns the handlers until now."""
    handlers = {int(number): signal.signal(number, _ignore) for number in (*STOP_SIGNALS, signal.SIGCHLD)}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return handlers


def serve(
    parse: Callable[[bytes], Asked[Work]],
    exits_fd: int,
    handlers: Mapping[int, Any],
    on_end: Callable[[Work], None] | None = None,
) -> Work | None:
    """Serve requests until standard input ends, and then until all forks, asked to stop by that, have ended.

    Args:
        parse: from a line to what it asks for.
        exits_fd: descriptor to which exits are written, the code negative for a signal.
        handlers: the signal handlers of the forks.
        on_end: called with the work of each fork that has ended, before its exit is reported.

    Returns:
        None in this process. In a fork: its work; STOP_SIGNALS are blocked.
    """
    wakeup_reader, wakeup_writer = os.pipe()
    for descriptor in (wakeup_reader, wakeup_writer):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wakeup_writer)
    children: dict[int, tuple[int, Work]] = {}
    """pid -> number, work."""
    partial_line, stdin_is_open = b"", True
    while stdin_is_open or children:
        ready, _, _ = select.select([wakeup_reader, *([0] if stdin_is_open else [])], [], [])
        if wakeup_reader in ready:
            for number in set(os.read(wakeup_reader, 4096)) & set(STOP_SIGNALS):
                for child in children:  # some sites signal process groups, and each child leads its own
                    os.kill(child, number)
        for child in list(children):
            if (ended := os.waitpid(child, os.WNOHANG))[0]:
                with suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)  # processes that the child started
                number, work = children.pop(child)
                if on_end is not None:
                    on_end(work)
                with suppress(BrokenPipeError):  # other forks still save when nobody reads any more
                    os.write(exits_fd, f"{number} {os.waitstatus_to_exitcode(ended[1])}\n".encode())
        if 0 not in ready:
            continue
        received = os.read(0, 65536)
        stdin_is_open = bool(received)
        *lines, partial_line = (partial_line + received).split(b"\n")
        requests = [parse(line) for line in lines]
        if not stdin_is_open:  # who asks has closed it, or is gone
            requests.append(Asked(signal=signal.SIGUSR1))
        for request in requests:
            for child, (number, _) in children.items():
                if request.signal and request.to in (None, number):
                    os.kill(child, request.signal)
            for number, work in request.work.items():
                assert all(number != one for one, _ in children.values()), f"fork {number} runs"
                # Blocked, so that no signal is lost before the child has its handlers.
                signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
                child = os.fork()
                if not child:
                    signal.set_wakeup_fd(-1)
                    for one, handler in handlers.items():
                        signal.signal(one, handler)
                    for descriptor in (wakeup_reader, wakeup_writer, exits_fd):
                        os.close(descriptor)
                    return work
                children[child] = number, work
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return None


def _ignore(number: int, frame: FrameType | None) -> None:
    """These signals are for the forks, to which they are passed on."""


def set_up_fork(output: Path, server: int, death_signal: signal.Signals) -> None:
    """Give this fork the streams, the group and the random states of a process that is started.

    Args:
        output: where it prints, as long as it opens no log of its own.
        server: pid of the process that it is a fork of.
        death_signal: what it gets when that process is gone.
    """
    signal_on_parent_death(death_signal, server)
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDONLY)
    printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor, number in ((null, 0), (printed, 1), (printed, 2)):
        os.dup2(descriptor, number)
    os.close(null)
    os.close(printed)
    # Python's own generator is reseeded after a fork; these two would draw the same in all forks.
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if torch := sys.modules.get("torch"):
        torch.default_generator.seed()
