"""The learning curve: logged metrics over the updates of a training, as a picture."""

from pathlib import Path

from espnet3.rundir.curves import Curve
from espnet3.rundir.files.atomic import replace_file


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
    panels[0].set_title(_plain(title), parse_math=False)
    panels[-1].set_xlabel("updates")
    with replace_file(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _plain(text: str) -> str:
    """Text that can be drawn: names of files may hold bytes that are no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


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
        panel.set_yscale("log")  # otherwise the end, which matters, is a flat line
    panel.set_ylabel(_plain(key.replace("_", " ")), parse_math=False)
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)
