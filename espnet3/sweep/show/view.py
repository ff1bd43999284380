"""A sweep as plain data, for reports and JSON."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrialView:
    """One trial: its swept values, state and results."""

    name: str
    directory: str
    """Its folder, relative to the sweep directory."""
    values: dict[str, Any]
    """Swept key -> value."""
    state: str
    """queued, running, done, failed, diverged, stopped, cancelled, killed, missing (its folder is gone) or
    unreadable (by who asks)."""
    objective: float | None
    """The value of the sweep's objective; None if there is none yet."""
    metrics: dict[str, float]
    """At its best checkpoint, see `rundir.metrics`."""
    curves: dict[str, list[tuple[float, float]]]
    """Metric -> [(epoch, value)], by epoch."""
    message: str
    """Why it failed or stopped, in one line."""
    traceback: str
    """The first failing rank's, if the trial failed."""
    command: str
    """The command that reproduces this trial alone."""
    seconds: float | None
    """Run time of all attempts together."""
    older: bool = False
    """Has an older configuration or code of the sweep, or a shorter training than others: shown, but not
    compared with other trials."""
    last_finite: float | None = None
    """The last finite value of the objective, of a trial that has diverged."""
    trained: float | None = None
    """The share of its time on nodes that training batches took."""


@dataclass(frozen=True)
class SweepView:
    """The status of a sweep."""

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
    """The sweep's last command."""
    generated_at: float
    """When it was read, in seconds since the epoch."""
    recipe: str = ""
    """The last two parts of the recipe's folder: mini_digits/asr."""

    @property
    def title(self) -> str:
        """Recipe and name."""
        return f"{self.recipe} {self.name}".strip()
