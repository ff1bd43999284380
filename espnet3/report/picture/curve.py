"""One key: each trial as a point, a line through the best or the mean, failures at the bottom."""

import math
from typing import TYPE_CHECKING

from espnet3.report.cells import line, max_trials_per_cell, measured
from espnet3.report.choice import Choice
from espnet3.report.picture.style import meaning, scale, star
from espnet3.sweep.show.states import FAILED
from espnet3.sweep.show.view import SweepView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_INCHES = (6.4, 4.0)
WIDE = 50
"""From this factor between the largest and the smallest value the axis is logarithmic."""


def draw_curve(figure: "Figure", panel: "Axes", view: SweepView, choice: Choice) -> int:
    """Draw the curve; returns the largest number of trials at one value."""
    figure.set_size_inches(*SIZE_INCHES)
    axis = choice.x
    cells = line(view, axis, choice.metric, choice.over)
    x_values = axis.numbers or [float(n) for n in range(len(axis.texts))]
    panel.plot(x_values, [math.nan if cell.value is None else cell.value for cell in cells], color="tab:blue")
    values, failed = [], []
    for x, cell in zip(x_values, cells, strict=True):
        for trial in (view.trials[index] for index in cell.trials):
            value = measured(view, trial, choice.metric)
            if value is not None and math.isfinite(value):
                values.append(value)
                panel.plot(x, value, marker="o", color="tab:blue", markersize=5)
                if trial.name == view.best:
                    star(panel, x, value)
            elif value is not None or trial.state in (*FAILED, "diverged"):
                failed.append(x)
    if values and min(values) > 0 and max(values) > WIDE * min(values):
        panel.set_yscale("log")
    if failed:
        bottom = panel.get_xaxis_transform()
        height = [0.03] * len(failed)
        panel.plot(failed, height, "x", color="tab:red", transform=bottom, label="failed or diverged")
        panel.legend(frameon=False, fontsize=8)
    scale(panel, "x", axis)
    panel.set_ylabel(meaning(view, choice))
    panel.grid(alpha=0.3)
    return max_trials_per_cell(cells)
