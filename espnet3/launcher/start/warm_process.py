"""The warm processes of this process: what it runs on this machine are forks of one that has imported."""

import atexit
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import IO

from espnet3.launcher.rank.interrupts import block
from espnet3.launcher.rank.warm import warm_process as warm
from espnet3.launcher.rank.warm.warm_process import ForkRequest
from espnet3.launcher.start.forks import Forks
from espnet3.launcher.start.tasks import task_environment
from espnet3.resources import Resources


class WarmProcess(Forks):
    """A process that forks; it ends with the process that started it, after its forks have saved."""

    def __init__(self, loaded_with: Mapping[str, str]) -> None:
        """Start it.

        Args:
            loaded_with: environment variables that libraries read as they are loaded.
        """
        self._count = 0
        if warm.loaded_with == loaded_with and threading.active_count() == 1:  # it is a fork of such a one
            super().__init__(*_forked(), Path(os.devnull))
            return
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # of which no file is left, whatever happens
        words = [f"{name}={value}" for name, value in loaded_with.items()]
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", *_WARM_PROCESS, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            bufsize=0,
            env={**os.environ, **loaded_with},
            preexec_fn=block,  # until it handles signals: Ctrl-C reaches it, too
        )
        log = Path(f"/proc/self/fd/{self._output.fileno()}")
        super().__init__(process, process.stdin, process.stdout, log)

    def fork(self, request: ForkRequest) -> range:
        """Fork what `request` asks for; returns the numbers of the forks."""
        numbers = range(self._count, self._count + len(request.arguments))
        self._count = numbers.stop
        self.write(replace(request, first=numbers.start).line())
        return numbers

    def send_signal(self, fork: int, number: Signals) -> None:
        """Send a signal to a fork, if it is alive."""
        self.write(ForkRequest(signal=number, to=fork).line())


def warm_process(resources: Resources) -> WarmProcess:
    """The warm process whose libraries are loaded for tasks with these resources; starts one if need be."""
    loaded_with = task_environment(resources)
    key = tuple(loaded_with.items())
    if key not in _started or not _started[key].is_alive():
        _started[key] = WarmProcess(loaded_with)
        atexit.register(_end, _started[key], os.getpid())
    return _started[key]


def _end(process: WarmProcess, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork
        process.end()


_started: dict[tuple[tuple[str, str], ...], WarmProcess] = {}


class _ForkedProcess:
    """A child that was forked, as `subprocess.Popen` shows one."""

    def __init__(self, pid: int) -> None:
        self.pid, self.code = pid, None  # type: tuple[int, int | None]

    def poll(self) -> int | None:
        if self.code is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.code = os.waitstatus_to_exitcode(ended[1])
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired([], timeout or 0.0)
            time.sleep(0.01)
        return code

    def terminate(self) -> None:
        self._send(SIGTERM)

    def kill(self) -> None:
        self._send(SIGKILL)

    def _send(self, number: Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _forked() -> tuple[_ForkedProcess, IO[bytes], IO[bytes]]:
    """Fork a warm process of this one; the pipes to it and from it."""
    requests_reader, requests_writer = os.pipe()
    exits_reader, exits_writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        os.dup2(requests_reader, 0)
        for descriptor in (requests_reader, requests_writer, exits_reader):
            os.close(descriptor)
        warm.serve_forks(exits_writer)
    os.close(requests_reader)
    os.close(exits_writer)
    return _ForkedProcess(pid), os.fdopen(requests_writer, "wb", 0), os.fdopen(exits_reader, "rb", 0)


_WARM_PROCESS = ("espnet3.launcher.rank.entry", "espnet3.launcher.rank.warm.warm_process")
