"""Style that all pictures share: colours whose dark end is the better one, labels, axes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from espnet3.report.axes import Axis
from espnet3.report.cells import colour_limits, direction_of
from espnet3.report.choice import Choice
from espnet3.sweep.show.view import SweepView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HIGHLIGHT = "#d9480f"
MAX_LABEL_LENGTH = 18
MAX_TICKS = 12


def plain(text: str) -> str:
    """Text that Matplotlib does not parse as mathematics."""
    return text.replace("$", r"\$").encode("utf-8", "replace").decode("utf-8")


def shortened(text: str) -> str:
    """A label of limited length."""
    return text if len(text) <= MAX_LABEL_LENGTH else text[: MAX_LABEL_LENGTH - 1] + "…"


def colours(view: SweepView, choice: Choice, values: Sequence[float]) -> dict[str, Any]:
    """Matplotlib's `cmap`, `vmin` and `vmax`: Viridis, which colour-blind readers can order too."""
    direction = direction_of(view, choice.metric)
    low, high = colour_limits(values, direction) if values else (0.0, 1.0)
    return {"cmap": "viridis" if direction == "minimize" else "viridis_r", "vmin": low, "vmax": high}


def colour_bar(
    figure: "Figure", panel: "Axes", drawn: Any, view: SweepView, choice: Choice, values: Sequence[float]
) -> None:
    """Add a colour bar; a pointed end means that values beyond it have the last colour."""
    beyond = (min(values) < drawn.norm.vmin, max(values) > drawn.norm.vmax)
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    figure.colorbar(drawn, ax=panel, label=meaning(view, choice), extend=ends[beyond])


def meaning(view: SweepView, choice: Choice) -> str:
    """The metric's name and which end is the better one."""
    better = {"minimize": " (lower is better)", "maximize": " (higher is better)"}
    return plain(choice.metric + better.get(direction_of(view, choice.metric), ""))


def star(panel: "Axes", x: float, y: float) -> None:
    """Mark the best trial."""
    panel.plot(x, y, marker="*", markersize=17, color="none", markeredgecolor=HIGHLIGHT, zorder=3)


def ticks(axis: Axis) -> list[str]:
    """The values of an axis as labels."""
    return [plain(shortened(text)) for text in axis.texts]


def scale(panel: "Axes", which: Literal["x", "y"], axis: Axis) -> None:
    """Set an axis to scale, linear or logarithmic; ticks at the values if they are few."""
    panel.set(**{f"{which}label": plain(axis.label), f"{which}scale": "log" if axis.log else "linear"})
    positions = axis.numbers or list(range(len(axis.texts)))
    if len(positions) <= MAX_TICKS:
        side = panel.xaxis if which == "x" else panel.yaxis
        side.set_ticks(positions, ticks(axis))
        side.set_ticks([], minor=True)
