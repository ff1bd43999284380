"""One key: each trial as a point, a line through the best or the mean, failures at the foot."""

import math
from typing import TYPE_CHECKING

from espnet3.report.cells import line, measured, most_per_cell
from espnet3.report.choice import Choice
from espnet3.report.picture.style import meaning, scale, star
from espnet3.sweep.show.view import SweepView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_INCHES = (6.4, 4.0)
WIDE = 50
"""From this factor between the largest and the smallest value the axis is logarithmic."""


def draw_curve(figure: "Figure", panel: "Axes", view: SweepView, choice: Choice) -> int:
    """Draw the curve; how many trials meet at one value, at most."""
    figure.set_size_inches(*SIZE_INCHES)
    axis = choice.x
    cells = line(view, axis, choice.metric, choice.over)
    at = axis.numbers or [float(n) for n in range(len(axis.texts))]
    panel.plot(at, [math.nan if one.value is None else one.value for one in cells], color="tab:blue")
    values, failed = [], []
    for place, one in zip(at, cells, strict=True):
        for trial in (view.trials[index] for index in one.trials):
            value = measured(view, trial, choice.metric)
            if value is not None and math.isfinite(value):
                values.append(value)
                panel.plot(place, value, marker="o", color="tab:blue", markersize=5)
                if trial.name == view.best:
                    star(panel, place, value)
            elif value is not None or trial.state in ("failed", "killed"):
                failed.append(place)
    if values and min(values) > 0 and max(values) > WIDE * min(values):
        panel.set_yscale("log")
    if failed:
        foot = panel.get_xaxis_transform()
        height = [0.03] * len(failed)
        panel.plot(failed, height, "x", color="tab:red", transform=foot, label="failed or diverged")
        panel.legend(frameon=False, fontsize=8)
    scale(panel, "x", axis)
    panel.set_ylabel(meaning(view, choice))
    panel.grid(alpha=0.3)
    return most_per_cell(cells)
