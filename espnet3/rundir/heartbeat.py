"""Heartbeats: the progress of a task in one small file, replaced every few seconds."""

import json
import math
import time
from pathlib import Path
from typing import Any

from espnet3.rundir.files.plain_types import has_type
from espnet3.rundir.files.reading import parse_json
from espnet3.rundir.time_spent import TimeSpent

EVERY_S = 2.0
"""Often enough for a progress bar, seldom enough for a shared file system with one file per rank."""


FIELDS: dict[str, Any] = {
    **{"at": float, "unit": str, "done": float, "total": float | None},
    **{"epoch": int | None, "max_epochs": int | None, "metrics": dict[str, float]},
    **{"utterances_per_s": float | None, "eta_s": float | None},
    **{"memory": int | None, "gpu_memory": int | None},
    **{"spent": dict[str, float], "saved": dict[str, float], "longest_s": float},
}
"""What a heartbeat says, and the type of it."""


class Heartbeat:
    """Writes progress to `path`, at most every `every_s` seconds; without a path it writes nothing.

    Known fields: `unit` ("utterance", "batch"), `done`, `total`, `epoch`, `max_epochs`,
    `metrics` (a dict of floats), `utterances_per_s` (of all ranks), `eta_s` (seconds until the stage ends, or
    None), `memory` and `gpu_memory` (bytes). A field keeps its value until it is updated.

    Added to them: `at` (seconds since the epoch), `spent` (seconds by kind, see `TimeSpent`), `saved` (what
    of them the newest complete checkpoint holds), `longest_s` (the longest time between two heartbeats).
    """

    def __init__(self, path: Path | None = None, every_s: float = EVERY_S) -> None:
        self.path = path
        self.every_s = every_s
        self.spent = TimeSpent()
        self._fields: dict[str, Any] = {}
        self._written_at = float("-inf")
        self._longest_s = 0.0

    def due(self) -> bool:
        """Whether the next `update` would write, so that a caller can avoid computing fields."""
        return self.path is not None and time.monotonic() - self._written_at >= self.every_s

    def update(self, *, force: bool = False, **fields: Any) -> None:
        """Set `fields`, and write the file if it is due or with `force`."""
        self._fields.update(fields)
        if self.path is None or not (force or self.due()):
            return
        now = time.monotonic()
        if math.isfinite(self._written_at):
            self._longest_s = max(self._longest_s, now - self._written_at)
        self._written_at = now
        self._write()

    def saved(self, spent: dict[str, float] | None = None) -> None:
        """Write at once that a checkpoint is complete; the next `update` is due when it was anyway.

        It holds what `spent.sums()` were when its state was taken, by default all until now.
        """
        self._fields["saved"] = self.spent.sums() if spent is None else spent
        self._write()

    def _write(self) -> None:
        if self.path is None:
            return
        counted = {"at": time.time(), "spent": self.spent.sums(), "longest_s": round(self._longest_s, 3)}
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        # Not fsynced: losing a heartbeat in a power cut does no harm, and every batch may write one.
        try:
            temporary.write_text(json.dumps({**counted, **self._fields}), encoding="utf-8")
            temporary.replace(self.path)
        except OSError:
            temporary.unlink(missing_ok=True)  # a full disk must not end a training that can go on


def read_heartbeat(path: Path) -> dict[str, Any] | None:
    """The fields last written to `path`, and `at` (seconds since the epoch).

    None without a file that can be read; a field of another type is left out.
    """
    try:
        fields = parse_json(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(fields, dict):
        return None
    return {name: value for name, value in fields.items() if name in FIELDS and _is_usable(name, value)}


def _is_usable(name: str, value: Any) -> bool:
    return has_type(value, FIELDS[name]) and not (isinstance(value, float) and not math.isfinite(value))
