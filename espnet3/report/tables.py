"""The sweep as CSV, a row per trial, and as JSON with every field."""

import csv
import io
import json
import math
from dataclasses import fields
from typing import Any

from espnet3.report.cells import metric_names
from espnet3.sweep.show.view import SweepView
from espnet3.sweep.trials.value_text import value_text


def as_csv(view: SweepView) -> str:
    """Columns: trial, state, best, older, swept keys, objective, other metrics, seconds, trained,
    directory, message.

    `best` and `older` are 1 or empty, `trained` is the share of the time on nodes. Missing values are empty.
    """
    metrics = metric_names(view)
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(
        [
            "trial",
            "state",
            "best",
            "older",
            *view.keys,
            *metrics,
            "seconds",
            "trained",
            "directory",
            "message",
        ]
    )
    for trial in view.trials:
        values = [value_text(trial.values[key]) if key in trial.values else "" for key in view.keys]
        measured = {**trial.metrics, view.objective: trial.objective}
        numbers = [_cell(measured.get(name)) for name in metrics]
        flags = ["1" if flag else "" for flag in (trial.name == view.best, trial.older)]
        end = [_cell(trial.seconds), _share(trial.trained), trial.directory, trial.message]
        rows.writerow([trial.name, trial.state, *flags, *values, *numbers, *end])
    return buffer.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")


def as_json(view: SweepView) -> str:
    """All fields of the view, a line per trial.

    JSON has no NaN and no infinity: they are the texts NaN, Infinity, -Infinity.
    """
    head = {field.name: getattr(view, field.name) for field in fields(view) if field.name != "trials"}
    trials = ",\n".join(_dumps(vars(trial)) for trial in view.trials)
    return f'{_dumps(head)[:-1]}, "trials": [\n{trials}\n]}}\n'


def plain(value: Any) -> Any:
    """`value` with NaN and infinity as text, because JSON has neither."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _dumps(value: Any) -> str:
    try:
        return json.dumps(value, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(plain(value), default=str)


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
