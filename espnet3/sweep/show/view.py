"""A sweep as whoever looks at it sees it: plain data, read from its files or made in a test."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrialView:
    """One trial: what was swept in it, how it is, and what came out."""

    name: str
    directory: str
    """Its folder, relative to the sweep directory."""
    values: dict[str, Any]
    """Swept key -> value."""
    state: str
    """queued, running, done, failed, stopped, cancelled, killed or missing (its folder is gone)."""
    objective: float | None
    """The value of the sweep's objective, None while there is none."""
    metrics: dict[str, float]
    curves: dict[str, list[tuple[float, float]]]
    """Metric -> [(epoch, value)], by epoch."""
    message: str
    """One line that says why it failed or stopped."""
    traceback: str
    """Of a failure, the first failing rank's."""
    command: str
    """Reproduces this trial alone."""
    seconds: float | None
    """How long it ran, all attempts together."""
    older: bool = False
    """Of a configuration or code that the sweep has left: shown, and compared with no other trial."""


@dataclass(frozen=True)
class SweepView:
    """A sweep at one moment."""

    name: str
    directory: str
    keys: list[str]
    """The swept keys, in the order given."""
    objective: str
    """The metric's name, of the valid split."""
    direction: str
    """minimize or maximize."""
    trials: list[TrialView]
    best: str | None
    """Name of the best done trial, by the objective."""
    command: str
    """What the sweep was started with."""
    generated_at: float
    """When it was read, in seconds since the epoch."""
