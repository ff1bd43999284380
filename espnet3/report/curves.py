"""Learning curves thinned for embedding: few points that keep each curve's extremes, with shared epochs."""

import math
from collections.abc import Sequence
from typing import Any

from espnet3.sweep.show.view import SweepView

Points = Sequence[tuple[float, float]]

MAX_TOTAL_POINTS = 300_000
"""Of all curves together; about 3 MB."""
MAX_POINTS, MIN_POINTS = 400, 16
"""Of one curve."""


def embedded_curves(view: SweepView) -> dict[str, Any]:
    """`metrics`: metric -> [[trial, index of its epochs, [value, ...]], ...]; `epochs`: lists of numbers.

    `thinned_to` is the number of points that longer curves were thinned to; 0 if none was.
    """
    curves = [
        (metric, index, curve)
        for index, trial in enumerate(view.trials)
        for metric, curve in trial.curves.items()
        if curve
    ]
    max_points = points_per_curve([len(curve) for _, _, curve in curves])
    epochs: dict[tuple[float | None, ...], int] = {}
    metrics: dict[str, list[Any]] = {}
    for metric, index, curve in curves:
        kept = thin(curve, max_points)
        epochs_index = epochs.setdefault(tuple(_short(epoch) for epoch, _ in kept), len(epochs))
        values = [_short(value) for _, value in kept]
        metrics.setdefault(metric, []).append([index, epochs_index, values])
    return {
        "metrics": dict(sorted(metrics.items())),
        "epochs": [list(key) for key in epochs],
        "thinned_to": max_points if any(len(curve) > max_points for _, _, curve in curves) else 0,
    }


def points_per_curve(lengths: Sequence[int]) -> int:
    """The number of points per curve that keeps the total below MAX_TOTAL_POINTS."""
    if sum(min(length, MAX_POINTS) for length in lengths) <= MAX_TOTAL_POINTS:
        return MAX_POINTS
    return max(MIN_POINTS, MAX_TOTAL_POINTS // len(lengths))


def thin(curve: Points, max_points: int) -> Points:
    """At most `max_points` of its points: first, last, and the extremes of equal stretches between."""
    if len(curve) <= max_points:
        return curve
    kept = {0, len(curve) - 1}
    stretches = max(1, (max_points - 2) // 2)
    for number in range(stretches):
        begin, end = (1 + (len(curve) - 2) * n // stretches for n in (number, number + 1))
        stretch = [index for index in range(begin, end) if math.isfinite(curve[index][1])] or [begin]
        kept |= {choose(stretch, key=lambda index: curve[index][1]) for choose in (min, max)}
    return [curve[index] for index in sorted(kept)]


def _short(value: float) -> float | int | None:
    """`value` with five digits, whole numbers as int; None (a gap) if it is not finite."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
