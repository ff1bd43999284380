"""Trials by the values of one or two swept keys: a value for each place, or why there is none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from espnet3.report.axes import Axis
from espnet3.sweep.show.view import SweepView, TrialView

Over = Literal["best", "mean"]
"""What stands for several trials: the best one by the objective, or their mean."""

WHY = ("diverged", "failed", "running", "stopped", "queued", "cancelled", "older", "missing")
"""Why a cell has no value; the first that applies to one of its trials."""


@dataclass(frozen=True)
class Cell:
    """What is drawn at one place."""

    value: float | None
    why: str
    """One of WHY where there is no value, else empty."""
    trials: list[int]
    """Indices of its trials, the one that it stands for first."""
    failed: int
    """How many of them failed."""


def measured(view: SweepView, trial: TrialView, metric: str) -> float | None:
    """A done trial's value of a metric, the objective among them; None where there is none to compare."""
    if trial.state != "done" or trial.older:
        return None
    return trial.objective if metric == view.objective else trial.metrics.get(metric)


def metric_names(view: SweepView) -> list[str]:
    """All metrics of the sweep: the objective, then the others by name."""
    names = {name for trial in view.trials for name in trial.metrics}
    return [view.objective, *sorted(names - {view.objective})]


def direction_of(view: SweepView, metric: str) -> str:
    """minimize or maximize, as the objective, for the same metric on any split; else empty: not known."""
    same = metric.rpartition("/")[2] == view.objective.rpartition("/")[2]
    return view.direction if same else ""


def cell(view: SweepView, trials: Sequence[int], metric: str, over: Over) -> Cell:
    """One place's trials as one value."""
    finite = [
        (index, value)
        for index in trials
        if (value := measured(view, view.trials[index], metric)) is not None and math.isfinite(value)
    ]
    failed = sum(_why_not(view, view.trials[index], metric) == "failed" for index in trials)
    if not finite:
        return Cell(None, _why(view, trials, metric), list(trials), failed)
    finite.sort(key=lambda pair: _goodness(view, view.trials[pair[0]]))
    value = finite[0][1] if over == "best" else sum(value for _, value in finite) / len(finite)
    first = [index for index, _ in finite]
    return Cell(value, "", [*first, *(index for index in trials if index not in first)], failed)


def grid(view: SweepView, x: Axis, y: Axis, metric: str, over: Over) -> list[list[Cell]]:
    """A row of cells for each value of `y`, a column for each of `x`."""
    members: dict[tuple[int, int], list[int]] = {}
    for index, place in enumerate(zip(y.places, x.places, strict=True)):
        members.setdefault(place, []).append(index)
    return [
        [cell(view, members.get((row, column), []), metric, over) for column in range(len(x.texts))]
        for row in range(len(y.texts))
    ]


def line(view: SweepView, x: Axis, metric: str, over: Over) -> list[Cell]:
    """A cell for each value of `x`."""
    return [
        cell(view, [index for index, place in enumerate(x.places) if place == column], metric, over)
        for column in range(len(x.texts))
    ]


def most_per_cell(cells: Sequence[Cell]) -> int:
    """How many trials share a place, at most."""
    return max((len(cell.trials) for cell in cells), default=0)


def colour_limits(values: Sequence[float], direction: str) -> tuple[float, float]:
    """The lowest and the highest value that get a colour of their own.

    A few diverged trials must not make all the others look alike. Where it is known which end is the better
    one, colours reach five times as far as from the best value to the (upper) median.
    """
    low, high = min(values), max(values)
    ranked = sorted(values, reverse=direction == "maximize")
    reach = 5 * abs(ranked[len(ranked) // 2] - ranked[0])
    if direction == "minimize" and reach:
        high = min(high, low + reach)
    if direction == "maximize" and reach:
        low = max(low, high - reach)
    return low, high


def _goodness(view: SweepView, trial: TrialView) -> float:
    """Sorts the best trial first."""
    if trial.objective is None or not math.isfinite(trial.objective):
        return math.inf
    return -trial.objective if view.direction == "maximize" else trial.objective


def _why(view: SweepView, trials: Sequence[int], metric: str) -> str:
    reasons = {_why_not(view, view.trials[index], metric) for index in trials}
    return next((reason for reason in WHY if reason in reasons), "missing")


def _why_not(view: SweepView, trial: TrialView, metric: str) -> str:
    if trial.older:
        return "older"
    if trial.state == "done":
        return "missing" if measured(view, trial, metric) is None else "diverged"
    return "failed" if trial.state == "killed" else trial.state
