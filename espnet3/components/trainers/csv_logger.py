"""A CSV file of all logged metrics that a continued run adds to."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning_utilities.core.rank_zero import rank_zero_only

from espnet3.rundir.atomic import write_text


class AppendingCSVLogger(Logger):
    """Writes a row per call of the trainer to `path`; a metric that appears later becomes a new column.

    Lightning's CSVLogger deletes the rows of an earlier attempt; here they stay. `epoch` counts from 0 and
    `step` counts batches that closed an update, as in Lightning's other loggers.

    Args:
        path: the file; its folder is made. A last line without an end, left by a kill, is dropped.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = Path(path)
        self._columns: list[str] | None = None

    @property
    def name(self) -> str:
        """Name of the file without its ending."""
        return self._path.stem

    @property
    def version(self) -> str:
        """None: attempts share the file."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run directory holds the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row."""
        row: dict[str, Any] = {"epoch": "", "step": step if step is not None else "", **metrics}
        if self._columns is None:
            self._columns = self._open()
        new = [key for key in row if key not in self._columns]
        if new:
            self._add_columns(new)
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_line([row.get(column, "") for column in self._columns]))

    def _open(self) -> list[str]:
        """The columns that the file has; mends a torn last line."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            return []
        text = self._path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            write_text(self._path, whole)
        return next(csv.reader(io.StringIO(whole)), [])

    def _add_columns(self, new: list[str]) -> None:
        """Write the file again with more columns; happens a few times in the first epoch."""
        assert self._columns is not None
        rows: list[list[str]] = []
        if self._path.exists():
            with self._path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))[1:]
        self._columns += new
        padded = [row + [""] * (len(self._columns) - len(row)) for row in rows]
        write_text(self._path, "".join(map(_line, [self._columns, *padded])))


def _line(cells: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
