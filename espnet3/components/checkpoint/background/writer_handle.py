"""The training's handle of the process that writes its checkpoints."""

import os
import pickle
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from espnet3.components.checkpoint.background.writer_process import WriteReply, WriteRequest
from espnet3.number_text import signal_name

_UNHEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Requests to stop go to all processes of a group or a step: the training waits for the writer then."""
_ROOT = Path(__file__).resolve().parents[4]
"""Where espnet3 is imported from."""
_PROGRAM = """
import sys
sys.path.append(sys.argv[1])
from espnet3.components.checkpoint.background.writer_process import main
main(int(sys.argv[2]), int(sys.argv[3]))
"""


class WriterDied(Exception):
    """The process ended without a reply; the message says how."""


class WriterHandle:
    """Starts the process, sends it requests one at a time, and receives its replies.

    A new program, and not a fork: a fork of a process with threads and a GPU may find a lock held for ever.
    """

    def __init__(self, descriptor: int) -> None:
        """Start the process, which may read the memory behind `descriptor`."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _UNHEARD)  # the process inherits this
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-IS", "-c", _PROGRAM, str(_ROOT), str(os.getpid()), str(descriptor)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(descriptor,),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout

    def send(self, request: WriteRequest) -> None:
        """Send a request; returns at once."""
        with suppress(BrokenPipeError):  # receive() says so
            pickle.dump(request, self._requests)
            self._requests.flush()

    def has_replied(self) -> bool:
        """Whether `receive` would return or raise at once."""
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        return bool(poll.poll(0))

    def receive(self) -> WriteReply:
        """Wait for the reply to the request.

        Raises:
            WriterDied: the process has ended.
        """
        try:
            reply: WriteReply = pickle.load(self._replies)
            return reply
        except (EOFError, pickle.UnpicklingError):
            code = self._process.wait()
            how = f"killed by {signal_name(-code)}" if code < 0 else f"gone with exit code {code}"
            raise WriterDied(f"the process that writes checkpoints was {how}") from None

    def end(self) -> None:
        """Have the process end, and wait until it has; it serves no request."""
        with suppress(BrokenPipeError):
            # Its end of the pipe may stay open in workers of a data loader.
            pickle.dump(None, self._requests)
            self._requests.flush()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._requests.close()
        self._replies.close()
