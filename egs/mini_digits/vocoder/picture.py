"""Draws log-mel spectrograms of references and of generated speech, side by side."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet3.rundir.files.atomic import replace_file


@dataclass(frozen=True)
class Panel:
    """A row of the picture."""

    uid: str
    reference: np.ndarray
    """Log-mel features (frames, num_mels)."""
    generated: np.ndarray
    """Of the same shape."""


def draw_mels(panels: list[Panel], picture: Path, *, frames_per_second: float) -> None:
    """Draw a PNG file (replaced atomically): a row for each utterance, the reference on the left.

    Both have the same colours, those of the reference's range.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not panels:
        return
    figure = Figure(figsize=(11.0, 1.8 * len(panels) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(panels), 2, sharey=True, squeeze=False)
    for panel, row in zip(panels, rows, strict=True):
        low, high = float(panel.reference.min()), float(panel.reference.max())
        for axes, mel in zip(row, (panel.reference, panel.generated), strict=True):
            image = axes.imshow(
                mel.T,
                origin="lower",
                aspect="auto",
                extent=(0, len(mel) / frames_per_second, 0, mel.shape[1]),
                vmin=low,
                vmax=high,
            )
        row[0].set_ylabel(f"{panel.uid}\nmel band")
        figure.colorbar(image, ax=list(row), label="nats", pad=0.01)
    rows[0][0].set_title("reference")
    rows[0][1].set_title("generated")
    for axes in rows[-1]:
        axes.set_xlabel("seconds")
    with replace_file(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
