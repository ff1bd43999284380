"""Wait for a Slurm controller that is away, which restarts or is too busy to answer."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from espnet3.errors import UserError
from espnet3.slurm.command import SlurmAway, ask

T = TypeVar("T")
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Between the tries of a submission, for which somebody may wait: about a minute."""
_COMES_BACK_S = 60.0

_last_away: float | None = None
"""When Slurm last did not answer this process, by the monotonic clock."""


class Patience:
    """For the questions of one submission, which share it.

    A controller that has just come back may refuse what it takes a moment later, when its nodes have
    registered: when it was away, to whichever question of this process, a refusal is no answer yet.
    """

    def __init__(self) -> None:
        self._pauses = iter(PAUSES_S)
        self._has_told = False

    def until_answered(self, call: Callable[[], T], taken: Callable[[], T | None] = lambda: None) -> T:
        """What `call` gives; again and again while Slurm's controller is away.

        Args:
            call: asks Slurm.
            taken: gives the answer where Slurm has done what it was asked, and could not say so.

        Raises:
            SlurmAway: after the last try.
            UserError: Slurm refuses.
        """
        while True:
            try:
                return call()
            except UserError as error:
                self._wait(error)
            known = taken()
            if known is not None:
                return known

    def _wait(self, error: UserError) -> None:
        global _last_away
        is_away = isinstance(error, SlurmAway)
        if is_away:
            _last_away = time.monotonic()
        came_back = _last_away is not None and time.monotonic() - _last_away < _COMES_BACK_S
        pause = next(self._pauses, None) if came_back else None
        if is_away and pause is None:
            raise SlurmAway(
                f"Slurm is away: {error}. When it is back, `espnet3 resume` submits what is missing"
            ) from error
        if pause is None:
            raise error
        if not self._has_told:
            how = "is away" if is_away else "came back just now, and refuses"
            print(f"Slurm {how} ({error}); trying again for a minute", file=sys.stderr, flush=True)
        self._has_told = True
        time.sleep(pause)


def ask_patiently(command: Sequence[str], *, patience_s: float) -> str:
    """As `ask`, for a job, which can wait for longer: for about `patience_s`, with growing pauses, unsaid."""
    pause, deadline = 0.5, time.monotonic() + patience_s
    while True:
        try:
            return ask(command)
        except SlurmAway:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 15.0)
