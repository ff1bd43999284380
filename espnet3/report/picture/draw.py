"""Draw the picture of a choice: its kind, its title, and its file."""

import warnings
from pathlib import Path

from espnet3.report.choice import Choice
from espnet3.report.picture.style import plain
from espnet3.rundir.files.atomic import replace_file
from espnet3.sweep.show.view import SweepView

DPI = 150


def draw_picture(view: SweepView, choice: Choice, picture: Path) -> None:
    """Draw into `picture`, replaced atomically: a heat map, points to scale, or a curve over one key."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from espnet3.report.picture.cells import draw_cells
    from espnet3.report.picture.curve import draw_curve
    from espnet3.report.picture.points import draw_points

    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    if choice.y is None:
        max_trials = draw_curve(figure, panel, view, choice)
    elif choice.to_scale:
        max_trials = draw_points(figure, panel, view, choice, choice.y)
    else:
        max_trials = draw_cells(figure, panel, view, choice, choice.y)
    panel.set_title(plain(title(view, choice, max_trials)), fontsize=10)
    with warnings.catch_warnings(), replace_file(picture) as temporary:
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing"
        )  # characters that the font does not have
        figure.savefig(temporary, format="png", dpi=DPI)


def title(view: SweepView, choice: Choice, max_trials: int) -> str:
    """The recipe and the sweep's name, and how up to `max_trials` trials in a cell are combined."""
    if max_trials < 2:
        return view.title
    where = f"over {', '.join(choice.others)}" if choice.others else "of equal trials"
    if choice.over == "best" and choice.metric != view.objective:
        return f"{view.title}: best by {view.objective} {where}"
    return f"{view.title}: {choice.over} {where}"
