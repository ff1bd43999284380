"""The fork server of one worker of pytest: has imported once what ranks import, and forks them.

It computes nothing and has no threads, so that a fork is as a fresh process after the same imports. Its
standard input is the socket on which processes ask (`handover`). Importing begins with the first of them.
"""

import ctypes
import faulthandler
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handover import PASSED_ON

LIBRARIES = (
    *("soundfile", "torch.utils.tensorboard", "torch.utils.serialization.config"),
    *("matplotlib.backends.backend_agg", "PIL.PngImagePlugin"),
)
"""What ranks import besides what the product's warm ranks have imported."""
_PR_SET_PDEATHSIG = 1


@dataclass
class Asked:
    """A process that stands for a fork."""

    connection: socket.socket
    child: int
    """The fork, which leads a process group; it is not waited for before this is forgotten."""

    def pass_on(self) -> bool:
        """Signals that have come go to the fork; a process that is gone has it killed, and returns False."""
        try:
            numbers = self.connection.recv(4096)
        except BlockingIOError:
            return True
        except ConnectionError:
            numbers = b""
        for number in numbers:
            os.kill(self.child, number)
        if not numbers:
            os.killpg(self.child, signal.SIGKILL)
        return bool(numbers)


def main() -> None:
    """Serve until this process is killed, and in each fork be the process that was asked for."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest
    request, descriptors = serve(socket.socket(fileno=0))
    become(request, descriptors)
    run(request["arguments"][1:])


def serve(listener: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for whoever asks; returns in the forks alone: what was asked for, and the standard streams."""
    woken, waker = os.pipe()
    for descriptor in (woken, waker):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    asked: dict[int, Asked] = {}
    """By descriptor."""
    while True:
        ready, _, _ = select.select([woken, listener, *asked], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(asked)
        for number in set(ready) & set(asked):
            if not asked[number].pass_on():
                asked.pop(number).connection.close()
        if listener not in ready:
            continue
        connection, _ = listener.accept()
        received = _receive(connection)
        if received is None:
            connection.close()
            continue
        request, descriptors = received
        imports()
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        child = os.fork()
        if not child:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.detach()  # is standard input, which will be another
            for one in (connection, *(other.connection for other in asked.values())):
                one.close()
            for descriptor in (woken, waker):
                os.close(descriptor)
            return request, descriptors
        with suppress(PermissionError):  # it may lead a session by now
            os.setpgid(child, child)  # before it can have to be killed
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.setblocking(False)
        asked[connection.fileno()] = Asked(connection, child)


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """A whole request; None from a process that was killed over it."""
    with suppress(ConnectionError, struct.error):
        head, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
        (length,) = struct.unpack("!I", head)
        body = b""
        while len(body) < length and (more := connection.recv(length - len(body))):
            body += more
        if len(body) == length:
            return json.loads(body), descriptors
        for descriptor in descriptors:
            os.close(descriptor)
    return None


def _reap(asked: dict[int, Asked]) -> None:
    """Tell of the forks that have ended how they did."""
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not child:
            return
        for number, one in list(asked.items()):
            if one.child == child:
                with suppress(OSError):
                    one.connection.send(struct.pack("!i", os.waitstatus_to_exitcode(status)))
                asked.pop(number).connection.close()


def imports() -> None:
    """Import what ranks need; only the first call does something."""
    from espnet3.stages.importing import quick_imports
    from espnet3.stages.preloading import preload

    preload()
    with quick_imports():
        for name in LIBRARIES:
            importlib.import_module(name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "forks of a process with threads may hang"


def become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Make this fork what a fresh process is that was started with the request."""
    import numpy as np
    import torch

    _die_with_parent()
    os.setpgid(0, 0)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.umask(request["umask"])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if "SLURM_TASK_PID" in os.environ:
        os.environ["SLURM_TASK_PID"] = str(os.getpid())
    sys.orig_argv[:] = request["arguments"]
    sys.path[:] = request["path"]
    if os.environ.get("PYTHONFAULTHANDLER"):
        faulthandler.enable()
    # Python's own generator does so by itself; these would draw the same in all forks.
    np.random.seed()
    torch.default_generator.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])


def run(arguments: list[str]) -> None:
    """Run what Python's arguments name, as Python does."""
    while arguments[0] != "-m" and arguments[0].startswith("-"):
        arguments = arguments[1:]
    if arguments[0] == "-m":
        sys.argv[:] = arguments[1:]
        sys.path.insert(0, str(Path.cwd()))
        runpy._run_module_as_main(arguments[1])
    else:
        sys.argv[:] = arguments
        sys.path.insert(0, str(Path(arguments[0]).parent))
        runpy.run_path(arguments[0], run_name="__main__")


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
