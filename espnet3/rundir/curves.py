"""The metrics of a training over its updates or epochs, from the CSV file of its run directory."""

import csv
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from espnet3.rundir.files.reading import cannot_read

Curve = list[tuple[float, float]]
"""(position, value), by position."""


def read_curves(file: Path, *, by: str = "step") -> dict[str, Curve]:
    """The metrics `train/<key>` and `valid/<key>` of a CSV file, without damaged rows; empty without a file.

    Args:
        file: of rows with the columns `step` and `epoch`.
        by: the column with the position of a value. Of several values at one position the last one counts:
            a continued training may log an update again.

    Raises:
        UserError: it can't be read.
    """
    points: dict[str, dict[float, float]] = {}
    try:
        with file.open(encoding="utf-8", errors="replace", newline="") as lines:
            for row in _rows(lines):
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
    except OSError as error:
        raise cannot_read(error, file) from error
    return {name: sorted(values.items()) for name, values in points.items()}


def _rows(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The rows that csv can read."""
    rows = csv.DictReader(lines)
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error:
            continue


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
