"""Two keys, one of them with too many values for cells: each trial is a point, to scale."""

import math
from typing import TYPE_CHECKING

from espnet3.report.axes import Axis
from espnet3.report.cells import measured
from espnet3.report.choice import Choice
from espnet3.report.picture.style import colour_bar, colours, scale, star
from espnet3.sweep.show.states import FAILED
from espnet3.sweep.show.view import SweepView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_INCHES = (6.4, 4.8)


def draw_points(figure: "Figure", panel: "Axes", view: SweepView, choice: Choice, y_axis: Axis) -> int:
    """Draw the trials that have a value or failed; returns 1, as no trials are combined."""
    figure.set_size_inches(*SIZE_INCHES)
    points: list[tuple[float, float, float]] = []
    failed: list[tuple[float, float]] = []
    for index, trial in enumerate(view.trials):
        x, y = _at(choice.x, index), _at(y_axis, index)
        if x is None or y is None:
            continue
        value = measured(view, trial, choice.metric)
        if value is not None and math.isfinite(value):
            points.append((x, y, value))
            if trial.name == view.best:
                star(panel, x, y)
        elif value is not None or trial.state in (*FAILED, "diverged"):
            failed.append((x, y))
    if failed:
        coordinates = ([x for x, _ in failed], [y for _, y in failed])
        panel.scatter(
            *coordinates, marker="x", s=18, linewidths=0.8, color="dimgray", label="failed or diverged"
        )
        panel.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
    if points:
        xs, ys, values = (list(column) for column in zip(*points, strict=True))
        drawn = panel.scatter(xs, ys, c=values, s=22, **colours(view, choice, values))
        colour_bar(figure, panel, drawn, view, choice, values)
    scale(panel, "x", choice.x)
    scale(panel, "y", y_axis)
    return 1


def _at(axis: Axis, index: int) -> float | None:
    position = axis.positions[index]
    if position < 0:
        return None
    return axis.numbers[position] if axis.numbers else position
