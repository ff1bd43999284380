"""The learning curve: logged metrics over the updates of a training, as a picture."""

import csv
import math
from pathlib import Path

from espnet3.rundir.atomic import replace_file

Curve = list[tuple[int, float]]
"""(update, value), by update."""


def read_curves(file: Path) -> dict[str, Curve]:
    """The metrics `train/<key>` and `valid/<key>` of a CSV file that has the column `step`.

    Where a continued training logged an update again, the newer value counts.
    """
    points: dict[str, dict[int, float]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            step = _number(row.get("step"))
            for name, text in row.items():
                value = _number(text)
                if step is not None and value is not None and str(name).startswith(("train/", "valid/")):
                    points.setdefault(str(name), {})[int(step)] = value
    return {name: sorted(values.items()) for name, values in points.items()}


def draw_learning_curve(curves: dict[str, Curve], picture: Path, *, title: str) -> None:
    """Draw one panel per metric, training and validation together, into a PNG file (replaced atomically).

    The panels are those that validation has, or all where it has none; `loss` is the first.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    keys = _panels(curves)
    figure = Figure(figsize=(7.0, 2.6 * len(keys)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(keys), 1, sharex=True, squeeze=False)[:, 0]
    for panel, key in zip(panels, keys, strict=True):
        _draw_panel(panel, key, curves.get(f"train/{key}", []), curves.get(f"valid/{key}", []))
    panels[0].set_title(title)
    panels[-1].set_xlabel("updates")
    with replace_file(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _panels(curves: dict[str, Curve]) -> list[str]:
    keys = [name.partition("/")[2] for name in curves if name.startswith("valid/")]
    keys = keys or [name.partition("/")[2] for name in curves]
    return sorted(dict.fromkeys(keys), key=lambda key: (key != "loss", key))


def _draw_panel(panel: object, key: str, train: Curve, valid: Curve) -> None:
    from matplotlib.axes import Axes

    assert isinstance(panel, Axes)
    if train:
        panel.plot(*zip(*train, strict=True), color="tab:blue", alpha=0.7, linewidth=1, label="train")
    if valid:
        panel.plot(*zip(*valid, strict=True), color="tab:orange", marker="o", markersize=3, label="valid")
    values = [value for _, value in [*train, *valid]]
    if min(values) > 0 and max(values) > 50 * min(values):
        panel.set_yscale("log")  # or the end, which matters, is a flat line
    panel.set_ylabel(key.replace("_", " "))
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
