"""Write the files of a report."""

from pathlib import Path

from espnet3.report.choice import Choice
from espnet3.report.page import as_page
from espnet3.report.picture.draw import draw_picture
from espnet3.report.tables import as_csv, as_json
from espnet3.rundir.files.atomic import write_text
from espnet3.sweep.show.view import SweepView

PAGE, CSV, JSON = "report.html", "trials.csv", "report.json"
HEAT_MAP, CURVE = "heat_map.png", "curve.png"


def write_report(view: SweepView, choice: Choice | None, folder: Path) -> list[Path]:
    """Write page, CSV, JSON and, where a key is swept, a picture of `choice`; returns the paths.

    Each file is replaced atomically; the folder is created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / PAGE, folder / CSV, folder / JSON]
    for path, text in zip(
        written, (as_page(view, str(folder.resolve())), as_csv(view), as_json(view)), strict=True
    ):
        write_text(path, text)
    if choice is not None:
        kept, stale = (CURVE, HEAT_MAP) if choice.y is None else (HEAT_MAP, CURVE)
        draw_picture(view, choice, folder / kept)
        (folder / stale).unlink(missing_ok=True)
        written.append(folder / kept)
    return written
