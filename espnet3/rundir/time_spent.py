"""What a rank spends its time on: sums of seconds by kind, from one monotonic clock."""

import time

STARTUP, TRAINING, DATA, CHECKPOINT, VALIDATION = KINDS = (
    "startup",
    "training",
    "data",
    "checkpoint",
    "validation",
)
"""startup: until the first training batch begins. training: batches, and the ends of epochs. data: between
two batches, that is waiting for the next one. checkpoint: training stands still for one."""


class TimeSpent:
    """Counts seconds by kind; each second since it was made belongs to exactly one of `KINDS`."""

    def __init__(self) -> None:
        self.kind = STARTUP
        """The present kind."""
        self._sums = dict.fromkeys(KINDS, 0.0)
        self._since = time.perf_counter()

    def switch(self, kind: str) -> str:
        """From now on the time is of `kind`, one of `KINDS`; returns the kind before."""
        now = time.perf_counter()
        before = self.kind
        self._sums[before] += now - self._since
        self._since, self.kind = now, kind
        return before

    def sums(self) -> dict[str, float]:
        """Seconds by kind until now, without kinds of no time."""
        self.switch(self.kind)
        return {kind: round(seconds, 3) for kind, seconds in self._sums.items() if seconds}
