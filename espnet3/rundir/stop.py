"""The request to stop: a flag that a signal handler sets and a stage checks."""

TIME_LIMIT = "SIGUSR2"
"""The signal that `sbatch --signal` sends ahead of the time limit."""


class Stopped(Exception):
    """Raised by a stage that has saved its state because it was asked to stop; exit code 75."""


class StopFlag:
    """Set once, from a signal handler; safe to read at any time from the stage's own thread."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def set(self, reason: str) -> None:
        """Ask the stage to stop; the first reason is kept."""
        self.reason = self.reason or reason

    def is_set(self) -> bool:
        """Whether the stage was asked to stop."""
        return self.reason is not None
