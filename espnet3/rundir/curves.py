"""The metrics of a training over its updates or epochs, from the CSV file of its run directory."""

import csv
import math
from pathlib import Path

Curve = list[tuple[float, float]]
"""(position, value), by position."""


def read_curves(file: Path, *, by: str = "step") -> dict[str, Curve]:
    """The metrics `train/<key>` and `valid/<key>` of a CSV file, as far as it is one; empty without one.

    Args:
        file: of rows with the columns `step` and `epoch`.
        by: the column with the position of a value. Of several values at one position the last one counts:
            a continued training may log an update again.
    """
    points: dict[str, dict[float, float]] = {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                position = _number(row.get(by))
                for name, text in row.items():
                    value = _number(text)
                    if (
                        position is not None
                        and value is not None
                        and str(name).startswith(("train/", "valid/"))
                    ):
                        points.setdefault(str(name), {})[position] = value
    except FileNotFoundError:
        return {}
    except (csv.Error, UnicodeDecodeError):  # damaged: what was read before it
        pass
    return {name: sorted(values.items()) for name, values in points.items()}


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
