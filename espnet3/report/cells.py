"""Trials by the values of one or two swept keys: a cell with a value, or the reason why there is none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from espnet3.report.axes import Axis
from espnet3.sweep.show.view import SweepView, TrialView

Over = Literal["best", "mean"]
"""How a cell combines several trials: the best one by the objective, or their mean."""

REASONS = ("diverged", "failed", "running", "stopped", "queued", "cancelled", "older", "missing")
"""Why a cell has no value; the first that applies to one of its trials."""


@dataclass(frozen=True)
class Cell:
    """One cell of a figure."""

    value: float | None
    reason: str
    """One of REASONS if there is no value, else empty."""
    trials: list[int]
    """Indices of its trials, the one with the shown value first."""
    failed: int
    """How many of them failed."""


def measured(view: SweepView, trial: TrialView, metric: str) -> float | None:
    """A done trial's value of a metric or of the objective; None if it is not to be compared."""
    if trial.state != "done" or trial.older:
        return None
    return trial.objective if metric == view.objective else trial.metrics.get(metric)


def metric_names(view: SweepView) -> list[str]:
    """All metrics of the sweep: the objective, then the others by name."""
    names = {name for trial in view.trials for name in trial.metrics}
    return [view.objective, *sorted(names - {view.objective})]


def direction_of(view: SweepView, metric: str) -> str:
    """minimize or maximize for the objective's metric on any split; empty if the direction is unknown."""
    same = metric.rpartition("/")[2] == view.objective.rpartition("/")[2]
    return view.direction if same else ""


def cell(view: SweepView, trials: Sequence[int], metric: str, over: Over) -> Cell:
    """Combine trials into one cell."""
    finite = [
        (index, value)
        for index in trials
        if (value := measured(view, view.trials[index], metric)) is not None and math.isfinite(value)
    ]
    failed = sum(_reason_of(view, view.trials[index], metric) == "failed" for index in trials)
    if not finite:
        return Cell(None, _common_reason(view, trials, metric), list(trials), failed)
    finite.sort(key=lambda pair: _sort_value(view, view.trials[pair[0]]))
    value = finite[0][1] if over == "best" else sum(value for _, value in finite) / len(finite)
    first = [index for index, _ in finite]
    return Cell(value, "", [*first, *(index for index in trials if index not in first)], failed)


def grid(view: SweepView, x: Axis, y: Axis, metric: str, over: Over) -> list[list[Cell]]:
    """A row of cells for each value of `y`, a column for each of `x`."""
    members: dict[tuple[int, int], list[int]] = {}
    for index, position in enumerate(zip(y.positions, x.positions, strict=True)):
        members.setdefault(position, []).append(index)
    return [
        [cell(view, members.get((row, column), []), metric, over) for column in range(len(x.texts))]
        for row in range(len(y.texts))
    ]


def line(view: SweepView, x: Axis, metric: str, over: Over) -> list[Cell]:
    """A cell for each value of `x`."""
    return [
        cell(view, [index for index, position in enumerate(x.positions) if position == column], metric, over)
        for column in range(len(x.texts))
    ]


def max_trials_per_cell(cells: Sequence[Cell]) -> int:
    """The largest number of trials in a cell."""
    return max((len(cell.trials) for cell in cells), default=0)


def colour_limits(values: Sequence[float], direction: str) -> tuple[float, float]:
    """The limits of the colour scale.

    A few diverged trials must not make all others look alike. If the direction is known, the scale reaches
    from the best value five times as far as the (upper) median.
    """
    low, high = min(values), max(values)
    ranked = sorted(values, reverse=direction == "maximize")
    reach = 5 * abs(ranked[len(ranked) // 2] - ranked[0])
    if direction == "minimize" and reach:
        high = min(high, low + reach)
    if direction == "maximize" and reach:
        low = max(low, high - reach)
    return low, high


def _sort_value(view: SweepView, trial: TrialView) -> float:
    """Sort key: the best trial first."""
    if trial.objective is None or not math.isfinite(trial.objective):
        return math.inf
    return -trial.objective if view.direction == "maximize" else trial.objective


def _common_reason(view: SweepView, trials: Sequence[int], metric: str) -> str:
    reasons = {_reason_of(view, view.trials[index], metric) for index in trials}
    return next((reason for reason in REASONS if reason in reasons), "missing")


def _reason_of(view: SweepView, trial: TrialView, metric: str) -> str:
    if trial.older:
        return "older"
    if trial.state == "done":
        return "missing" if measured(view, trial, metric) is None else "diverged"
    return "failed" if trial.state == "killed" else trial.state
