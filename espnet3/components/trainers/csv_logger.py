"""A CSV file of all logged metrics that a continued run adds to."""

import csv
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from espnet3.components.trainers.epoch_number import with_epoch_from_one
from espnet3.rundir.files.atomic import write_text

log = logging.getLogger(__name__)


class AppendingCSVLogger(Logger):
    """Writes a row per call of the trainer to `path`; a metric that appears later becomes a new column.

    Lightning's CSVLogger deletes the rows of an earlier attempt; this one keeps those up to the checkpoint,
    see `checkpoint.log_rows`. `epoch` counts from 1, and `step` from 0, the batches that closed an update, as
    in Lightning's other loggers.

    Args:
        path: the file; its folder is made. A last line without an end, left by a kill, is dropped.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = Path(path)
        self._columns: list[str] | None = None
        self._rows = 0

    @property
    def name(self) -> str:
        """Name of the file without its ending."""
        return self._path.stem

    @property
    def version(self) -> str:
        """Empty: attempts share the file."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run directory holds the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row."""
        row: dict[str, Any] = {"epoch": "", "step": step if step is not None else ""}
        row |= with_epoch_from_one(metrics)
        if self._columns is None:
            self._columns = self._open()
        new = [key for key in row if key not in self._columns]
        if new:
            self._add_columns(new)
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_line([row.get(column, "") for column in self._columns]))
        self._rows += 1

    def position(self, next_step: int) -> int:
        """Number of rows."""
        if self._columns is None:
            self._columns = self._open()
        return self._rows

    def files(self) -> list[Path]:
        """The file, if there are rows."""
        return [self._path] if self._path.exists() else []

    def continue_from(self, position: int) -> None:
        """Keep the first `position` rows: later ones will be written again."""
        self._columns = self._open()
        if self._rows < position:
            log.warning("%s has %d rows, but had %d at the checkpoint", self._path, self._rows, position)
        if self._rows > position:
            lines = self._read()
            write_text(self._path, "".join(map(_line, lines[: 1 + position])))
            self._rows = position

    def _open(self) -> list[str]:
        """The columns of the file; removes an incomplete last line."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            return []
        text = self._path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            write_text(self._path, whole)
        lines = self._read()
        self._rows = max(0, len(lines) - 1)
        return lines[0] if lines else []

    def _read(self) -> list[list[str]]:
        """All lines of the file; the first is the header."""
        with self._path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    def _add_columns(self, new: list[str]) -> None:
        """Write the file again with more columns; happens a few times in the first epoch."""
        assert self._columns is not None
        rows = self._read()[1:] if self._path.exists() else []
        self._columns += new
        padded = [row + [""] * (len(self._columns) - len(row)) for row in rows]
        write_text(self._path, "".join(map(_line, [self._columns, *padded])))


def _line(cells: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
