"""The record of a check of the data that let stages begin, beside the data."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.rundir.files.json_file import read_dataclass, write_dataclass

LEVELS = ("off", "quick", "full")
"""Values of `check_data`, each more thorough than the one before."""

ON_BAD = ("error", "skip")
"""Values of `dataset.on_bad`."""


@dataclass(frozen=True)
class DataCheck:
    """A check that let stages begin: there was no problem, or `dataset.on_bad: skip` leaves them out."""

    level: str
    summary: str
    """In words: "3,000 utterances"."""
    code: dict[str, str] = field(default_factory=dict)
    """The recipe's own Python files -> SHA-256."""
    files: dict[str, list[int] | None] = field(default_factory=dict)
    """Manifests and audio -> [size in bytes, mtime in ns]; None: it was missing."""

    def covers(self, level: str, code: dict[str, str]) -> bool:
        """Whether a check of `level` now would find the same; looks at every file's size and time."""
        if self.level not in LEVELS or LEVELS.index(self.level) < LEVELS.index(level) or self.code != code:
            return False
        return all(file_state(name) == state for name, state in self.files.items())


@dataclass(frozen=True)
class Imported:
    """Code that could be imported: it is not tried again before it changes."""

    code: dict[str, str]


def check_dir(config: Any) -> Path:
    """The folder of records, lists and the cache, beside the data: trainings of one corpus share it."""
    return Path(config["data_dir"]) / "check"


def data_check_path(config: Any, name: str) -> Path:
    """The record of the check of one configuration of the data, whose hash is `name`."""
    return check_dir(config) / f"{name}.json"


def imported_path(config: Any) -> Path:
    """The record of the code that could be imported last."""
    return check_dir(config) / "imported.json"


def read_imported(path: Path) -> dict[str, str]:
    """The recipe's own Python files that could be imported -> SHA-256; empty if that is not known."""
    record = read_dataclass(Imported, path)
    return record.code if record else {}


def write_imported(path: Path, code: dict[str, str]) -> None:
    """Write it; the folder must exist."""
    write_dataclass(path, Imported(code))


def read_data_check(path: Path) -> DataCheck | None:
    """The record; None if there is none."""
    return read_dataclass(DataCheck, path)


def write_data_check(path: Path, record: DataCheck) -> None:
    """Write the record; its folder must exist."""
    write_dataclass(path, record)


def file_state(path: str | Path) -> list[int] | None:
    """Size in bytes and time of change in ns; None for a file that is missing."""
    try:
        stat = os.stat(path)  # noqa: PTH116 (a Path for each of 281,000 files takes a second)
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


@dataclass(frozen=True)
class DataCheckResult:
    """What a check tells the process that has started it."""

    summary: str = ""
    """In words: "3,000 utterances"."""
    error: str = ""
    """Why stages may not begin, in one line; empty if they may."""
    lines: list[str] = field(default_factory=list)
    """What is wrong, one line for each; the first ones."""
    more: int = 0
    """How many lines only the report has."""
    remarks: list[str] = field(default_factory=list)
