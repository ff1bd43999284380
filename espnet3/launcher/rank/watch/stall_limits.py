"""How long a rank may stand still in each phase of a training, by how long it did so far."""

from dataclasses import dataclass, field

from espnet3.outcomes.hang import UNHURRIED_S
from espnet3.rundir.watch.activity import PHASES, Phase

AUTO_LEAST_S = 60.0
_AUTO_TIMES = 10.0
_GIVEN_TIMES = 3.0
_BATCHES: tuple[Phase, ...] = ("training", "validation")


@dataclass
class StallLimits:
    """The limits of one rank."""

    timeout_s: float | None
    """`trainer.hang_timeout_s`; None: automatic, from the longest times so far."""
    _longest: dict[str, float] = field(default_factory=dict)
    """Phase that has ended -> the longest time without movement in it."""

    def ended(self, phase: Phase, still_s: float) -> None:
        """A phase, or a batch of it, has ended, after so long without movement."""
        self._longest[phase] = max(still_s, self._longest.get(phase, 0.0))

    @property
    def least_s(self) -> float:
        """The shortest limit of all: who stands still for less is at work."""
        return AUTO_LEAST_S if self.timeout_s is None else self.timeout_s

    def of(self, phase: Phase) -> float:
        """Seconds; UNHURRIED_S for what has not been seen to end yet, such as the first batch.

        The second batch, and the first of the second epoch, may take as long as start-up and the first batch.
        """
        if phase not in self._longest and phase not in (*_BATCHES, "epoch start"):
            return max(self.least_s, UNHURRIED_S)
        if self.timeout_s is not None and phase in _BATCHES:
            return self.timeout_s
        longest_s = self._longest.get(phase, max(self._longest.values(), default=0.0))
        times = _AUTO_TIMES if self.timeout_s is None else _GIVEN_TIMES
        return max(self.least_s, times * longest_s)

    def seen(self, before: tuple[int, ...], now: tuple[int, ...], still_s: float) -> None:
        """Note what has ended between two readings; those within a moment took no time."""
        for phase, one, other in zip(PHASES, before, now, strict=True):
            if one != other:
                self.ended(phase, still_s)
