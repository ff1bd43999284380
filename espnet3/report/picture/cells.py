"""The heat map: two keys with few values each. A cell without a value is grey, with a sign for the reason."""

from typing import TYPE_CHECKING

from espnet3.report.axes import Axis
from espnet3.report.cells import Cell, grid, max_trials_per_cell
from espnet3.report.choice import Choice
from espnet3.report.picture.style import colour_bar, colours, plain, ticks
from espnet3.sweep.show.view import SweepView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNS = {
    "diverged": "↯ diverged",
    "failed": "✗ failed",
    "missing": "–",  # noqa: RUF001
    "running": "▶ running",
    "queued": "… queued",
    "stopped": "‖ stopped",
    "cancelled": "cancelled",
    "older": "older",
}
FAILED, HATCH, WAITING, MISSING = "#c3c9d1", "#a9b0ba", "#dfe3e8", "#f4f5f7"
MAX_LABELLED_CELLS = 150
"""With more cells there is no room for numbers."""


def draw_cells(figure: "Figure", panel: "Axes", view: SweepView, choice: Choice, y: Axis) -> int:
    """Draw the grid; returns the largest number of trials in a cell."""
    import numpy as np

    cells = grid(view, choice.x, y, choice.metric, choice.over)
    rows, columns = len(y.texts), len(choice.x.texts)
    figure.set_size_inches(min(2.8 + 0.95 * columns, 11.0), min(max(1.5 + 0.65 * rows, 3.2), 9.0))
    numbers = np.array([[np.nan if cell.value is None else cell.value for cell in row] for row in cells])
    values = [cell.value for row in cells for cell in row if cell.value is not None]
    image = panel.imshow(numbers, origin="lower", aspect="auto", **colours(view, choice, values))
    if values:
        colour_bar(figure, panel, image, view, choice, values)
    _mark_empty(panel, cells)
    best = [
        (y.positions[n], choice.x.positions[n])
        for n, trial in enumerate(view.trials)
        if trial.name == view.best
    ]
    size = 9 if max(rows, columns) <= 10 else 6
    for row, row_cells in enumerate(cells):
        for column, cell in enumerate(row_cells):
            text = _text(cell, is_best=(row, column) in best, small=rows * columns > MAX_LABELLED_CELLS)
            ink = "#333333" if cell.value is None else _ink(*image.to_rgba(np.array([cell.value]))[0, :3])
            panel.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)
    _axes(panel, choice.x, y)
    return max_trials_per_cell([cell for row in cells for cell in row])


def _mark_empty(panel: "Axes", cells: list[list[Cell]]) -> None:
    """Mark cells without a value; failed ones are hatched."""
    from matplotlib.patches import Rectangle

    for row, row_cells in enumerate(cells):
        for column, cell in enumerate(row_cells):
            if cell.value is None:
                failed = cell.reason in ("failed", "diverged")
                colour = FAILED if failed else MISSING if cell.reason == "missing" else WAITING
                patch = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, linewidth=0)
                if failed:
                    patch.set(hatch="////", edgecolor=HATCH)
                panel.add_patch(patch)


def _text(cell: Cell, *, is_best: bool, small: bool) -> str:
    if cell.value is None:
        sign = SIGNS[cell.reason]
        return sign.split()[0] if small else sign
    value = "" if small else f"{cell.value:.3g}"
    failed = f"\n({cell.failed} failed)" if cell.failed and not small else ""
    return (f"★ {value}".strip() if is_best else value) + failed


def _ink(*colour: float) -> str:
    """Black or white, whichever is easier to read on a colour."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if light > 0.18 else "white"


def _axes(panel: "Axes", x: Axis, y: Axis) -> None:
    """Label the axes with evenly spread values, and draw white lines between the cells."""
    long = sum(len(text) for text in ticks(x)) > 12 * len(x.texts)
    panel.set_xticks(
        range(len(x.texts)), ticks(x), rotation=30 if long else 0, ha="right" if long else "center"
    )
    panel.set_yticks(range(len(y.texts)), ticks(y))
    panel.set_xticks([n - 0.5 for n in range(1, len(x.texts))], minor=True)
    panel.set_yticks([n - 0.5 for n in range(1, len(y.texts))], minor=True)
    panel.grid(which="minor", color="white", linewidth=2)
    panel.tick_params(which="both", length=0)
    panel.spines[:].set_visible(False)
    panel.set_xlabel(plain(x.label))
    panel.set_ylabel(plain(y.label))
