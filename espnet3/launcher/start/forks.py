"""The other end of a process that forks: requests to it, and how its forks have ended."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

_ENDS_WITHIN_S = 60.0


class Process(Protocol):
    """A child process, as `subprocess.Popen` shows it."""

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired`."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


class Forks:
    """The forks of a process that serves requests; only the process that started it sends some."""

    def __init__(
        self, process: Process, requests: IO[bytes] | None, exits: IO[bytes] | None, log: Path
    ) -> None:
        """Talk to `process`.

        Args:
            process: whose forks these are; it ends when `requests` is closed.
            requests: a pipe to it, without a buffer.
            exits: a pipe from it, without a buffer.
            log: what it prints itself.
        """
        assert requests is not None and exits is not None
        self.exits: dict[int, int] = {}
        """Number of a fork -> exit code, of those that have ended; negative for a signal."""
        self.log = log
        self._process, self._requests, self._exits = process, requests, exits
        self._partial_line = b""
        os.set_blocking(exits.fileno(), False)

    def is_alive(self) -> bool:
        """Whether the process runs, so that it takes requests."""
        return self._process.poll() is None

    def write(self, line: bytes) -> None:
        """Send a request."""
        with suppress(BrokenPipeError):
            while line:  # a signal that is handled meanwhile cuts a long one short
                line = line[self._requests.write(line) :]

    def read_exits(self) -> None:
        """Read which forks have ended."""
        while received := self._exits.read(65536):
            *lines, self._partial_line = (self._partial_line + received).split(b"\n")
            for line in lines:
                number, code = line.split()
                self.exits[int(number)] = int(code)

    def close(self) -> None:
        """Have the process end with its forks, which save."""
        with suppress(BrokenPipeError):
            self._requests.close()

    def end(self) -> None:
        """Have the process end with its forks, which save, and wait until it has."""
        self.close()
        for escalate in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(timeout=_ENDS_WITHIN_S)
                return
            except subprocess.TimeoutExpired:
                escalate()
        self._process.wait()
