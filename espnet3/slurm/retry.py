"""Retries requests while the Slurm controller is away: it restarts, or is too busy to answer."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from espnet3.errors import UserError
from espnet3.slurm.command import SlurmAway, ask

T = TypeVar("T")
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Pauses between the attempts of one submission: about a minute in total, since a user may be waiting."""
_COMES_BACK_S = 60.0

_last_away: float | None = None
"""When Slurm last did not answer this process, by the monotonic clock."""


class SlurmRetry:
    """The retries of one submission; all its requests to Slurm share one budget of pauses.

    A controller that has just restarted may refuse a job that it accepts a moment later, when its nodes have
    registered. So a refusal soon after the controller was away, for any request of this process, is retried.
    """

    def __init__(self) -> None:
        self._pauses = iter(PAUSES_S)
        self._has_warned = False

    def until_answered(self, call: Callable[[], T], done: Callable[[], T | None] = lambda: None) -> T:
        """The result of `call`, which is repeated while Slurm's controller is away.

        Args:
            call: asks Slurm.
            done: the result, if Slurm carried out the request but its answer was lost; else None.

        Raises:
            SlurmAway: after the last attempt.
            UserError: Slurm refuses.
        """
        while True:
            try:
                return call()
            except UserError as error:
                self._wait(error)
            result = done()
            if result is not None:
                return result

    def _wait(self, error: UserError) -> None:
        global _last_away
        is_away = isinstance(error, SlurmAway)
        if is_away:
            _last_away = time.monotonic()
        came_back = _last_away is not None and time.monotonic() - _last_away < _COMES_BACK_S
        pause = next(self._pauses, None) if came_back else None
        if is_away and pause is None:
            raise SlurmAway(f"Slurm is away: {error}") from error
        if pause is None:
            raise error
        if not self._has_warned:
            how = "is away" if is_away else "came back just now, and refuses"
            print(f"Slurm {how} ({error}); trying again for a minute", file=sys.stderr, flush=True)
        self._has_warned = True
        time.sleep(pause)


def ask_with_retries(command: Sequence[str], *, timeout_s: float) -> str:
    """As `ask`, retried for about `timeout_s` with growing pauses; for jobs. Prints nothing."""
    pause, deadline = 0.5, time.monotonic() + timeout_s
    while True:
        try:
            return ask(command)
        except SlurmAway:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 15.0)
