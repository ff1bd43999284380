"""Learning curves small enough to embed: few points, which keep every curve's extremes, on shared epochs."""

import math
from collections.abc import Sequence
from typing import Any

from espnet3.sweep.show.view import SweepView

Points = Sequence[tuple[float, float]]

BUDGET = 300_000
"""Points of all curves together: about 3 MB."""
MOST, FEWEST = 400, 16
"""Points of one curve."""


def embedded_curves(view: SweepView) -> dict[str, Any]:
    """`metrics`: metric -> [[trial, index of its epochs, [value, ...]], ...]; `epochs`: lists of numbers.

    `thinned_to` is how many points a longer curve was thinned to, 0 where none was.
    """
    curves = [
        (metric, index, curve)
        for index, trial in enumerate(view.trials)
        for metric, curve in trial.curves.items()
        if curve
    ]
    most = points_each([len(curve) for _, _, curve in curves])
    epochs: dict[tuple[float | None, ...], int] = {}
    metrics: dict[str, list[Any]] = {}
    for metric, index, curve in curves:
        kept = thin(curve, most)
        place = epochs.setdefault(tuple(_short(epoch) for epoch, _ in kept), len(epochs))
        values = [_short(value) for _, value in kept]
        metrics.setdefault(metric, []).append([index, place, values])
    return {
        "metrics": dict(sorted(metrics.items())),
        "epochs": [list(key) for key in epochs],
        "thinned_to": most if any(len(curve) > most for _, _, curve in curves) else 0,
    }


def points_each(lengths: Sequence[int]) -> int:
    """How many points a curve may have so that all together are within the budget."""
    if sum(min(length, MOST) for length in lengths) <= BUDGET:
        return MOST
    return max(FEWEST, BUDGET // len(lengths))


def thin(curve: Points, most: int) -> Points:
    """At most `most` of its points: first, last, and the lowest and highest of equal stretches between."""
    if len(curve) <= most:
        return curve
    kept = {0, len(curve) - 1}
    stretches = max(1, (most - 2) // 2)
    for number in range(stretches):
        begin, end = (1 + (len(curve) - 2) * n // stretches for n in (number, number + 1))
        stretch = [index for index in range(begin, end) if math.isfinite(curve[index][1])] or [begin]
        kept |= {choose(stretch, key=lambda index: curve[index][1]) for choose in (min, max)}
    return [curve[index] for index in sorted(kept)]


def _short(value: float) -> float | int | None:
    """Five digits, of which a plot shows fewer; a whole number without `.0`; None is a gap."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
