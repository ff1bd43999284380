"""The data that the page embeds: a sweep as JSON, with the same axes and directions as the picture."""

import json
import os
from typing import Any
from urllib.parse import quote

from espnet3.report.axes import axes
from espnet3.report.cells import direction_of, metric_names
from espnet3.report.curves import embedded_curves
from espnet3.report.tables import plain
from espnet3.sweep.show.view import SweepView, TrialView

LONGEST_TRACEBACK = 20_000
"""In characters; the middle of a longer one is left out."""


def page_data(view: SweepView, folder: str) -> dict[str, Any]:
    """Plain values for JSON. `folder` is the page's folder: links to trials are relative to it."""
    metrics = metric_names(view)
    tracebacks: dict[str, int] = {"": 0}
    prefix = os.path.relpath(view.directory, folder)
    trials = [_trial(view, trial, metrics, tracebacks, prefix) for trial in view.trials]
    best = [trial.name for trial in view.trials].index(view.best) if view.best is not None else None
    all_axes = axes(view)
    data = {
        "name": view.name,
        "recipe": view.recipe,
        "directory": view.directory,
        "command": view.command,
        "generated_at": view.generated_at,
        "objective": view.objective,
        "direction": view.direction,
        "best": best,
        "metrics": [{"name": name, "direction": direction_of(view, name)} for name in metrics],
        "axes": [
            {
                "key": axis.key,
                "label": axis.label,
                "texts": axis.texts,
                "numbers": axis.numbers,
                "log": axis.log,
                "to_scale": axis.to_scale,
            }
            for axis in all_axes
        ],
        "trials": [
            {**trial, "positions": [axis.positions[index] for axis in all_axes]}
            for index, trial in enumerate(trials)
        ],
        "tracebacks": list(tracebacks),
    }
    # curves have no NaN or infinity, and are the largest part
    return {**plain(data), "curves": embedded_curves(view)}


def as_script(data: dict[str, Any]) -> str:
    """ASCII JSON that can't end the script element around it."""
    text = json.dumps(data, separators=(",", ":"), default=str, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _trial(
    view: SweepView, trial: TrialView, metrics: list[str], tracebacks: dict[str, int], prefix: str
) -> dict[str, Any]:
    measured = {**trial.metrics, view.objective: trial.objective}
    return {
        "name": trial.name,
        "directory": trial.directory,
        "href": "" if trial.state == "missing" else _link(prefix, trial.directory),
        "state": trial.state,
        "older": trial.older,
        "metrics": [measured.get(name) for name in metrics],
        "last_finite": trial.last_finite,
        "seconds": trial.seconds,
        "trained": trial.trained,
        "message": trial.message,
        "traceback": tracebacks.setdefault(_shortened(trial.traceback), len(tracebacks)),
        "command": trial.command,
    }


def _link(prefix: str, directory: str) -> str:
    """A quoted link, relative by `prefix`: a folder may be called `javascript:`."""
    return quote(f"{prefix}/{directory}/", errors="surrogateescape")


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_TRACEBACK:
        return text
    half = LONGEST_TRACEBACK // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters left out]\n{text[-half:]}"
