"""The record of a stage's inputs, written at its start and end, and compared before it runs again."""

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.rundir.files.json_file import read_dataclass, write_dataclass

CONTENT_UP_TO_BYTES = 4 << 20
"""Files up to this size are compared by content, larger ones by size and mtime; ..."""
CONTENT_IN_ALL_BYTES = 256 << 20
"""... and so are files beyond this total, so that recording a stage does not read a whole corpus."""


@dataclass
class Record:
    """The record of one stage, as `stages/<stage>.json` in the directory that it fills."""

    part: dict[str, Any]
    """The part of the configuration on which the result depends: dotted key -> value."""
    code: dict[str, str]
    """The recipe's own Python files -> SHA-256."""
    done: bool = False
    summary: str = ""
    where: str = ""
    seconds: float = 0.0
    finished_at: float = 0.0
    files: dict[str, list[Any]] = field(default_factory=dict)
    """Files it read -> [size in bytes, mtime in ns, SHA-256 or ""]."""
    outputs: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)


def record_path(home: Path, stage: str) -> Path:
    """The record file of `stage` in the directory `home` that it fills."""
    return home / "stages" / f"{stage}.json"


def read_record(home: Path, stage: str) -> Record | None:
    """The record of `stage` in `home`; None if it is missing or unreadable."""
    return read_dataclass(Record, record_path(home, stage))


def write_record(home: Path, stage: str, record: Record) -> None:
    """Replace the record of `stage` in `home`, atomically."""
    path = record_path(home, stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dataclass(path, record)


def finish(record: Record, result: Any, seconds: float, root: Path) -> Record:
    """`record` completed with `result` (a StageResult) after `seconds`; file names are relative to `root`."""
    return Record(
        part=record.part,
        code=record.code,
        done=True,
        summary=result.summary,
        where=str(result.where),
        seconds=round(seconds, 1),
        finished_at=time.time(),
        files=record.files | file_states(result.inputs, root),
        outputs=[_name(path, root) for path in result.outputs],
        metrics=dict(result.metrics),
    )


def hash_files(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """The SHA-256 of each file by its name."""
    return {_name(path, root): _sha256(path) for path in paths}


def file_states(paths: Iterable[Path], root: Path) -> dict[str, list[Any]]:
    """Size, mtime and hash (of small files) of the existing `paths`, by name."""
    states = {}
    budget = CONTENT_IN_ALL_BYTES
    for path in paths:
        if not path.exists():
            continue
        stat = path.stat()
        is_read = stat.st_size <= min(CONTENT_UP_TO_BYTES, budget)
        budget -= stat.st_size if is_read else 0
        states[_name(path, root)] = [stat.st_size, stat.st_mtime_ns, _sha256(path) if is_read else ""]
    return states


def changed_files(record: Record, root: Path) -> list[str]:
    """Input files of `record` that have changed since: "data/train.jsonl changed"."""
    problems = []
    for name, (size, mtime_ns, content) in record.files.items():
        path = root / name
        try:
            now = path.stat()
        except OSError:
            problems.append(f"{name} is gone")
            continue
        if (now.st_size, now.st_mtime_ns) == (size, mtime_ns):
            continue
        if not content or now.st_size != size or _sha256(path) != content:
            problems.append(f"{name} changed")
    return problems


def missing_outputs(record: Record, root: Path) -> list[str]:
    """Missing outputs of `record`: "exp/default/checkpoints/last.ckpt is gone"."""
    return [f"{name} is gone" for name in record.outputs if not (root / name).exists()]


def changed_code(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Code files that differ: "model.py changed"."""
    return [f"{name} changed" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def briefly(problems: Sequence[str]) -> str:
    """The first problem, and how many more."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"


def _name(path: Path, root: Path) -> str:
    """The name of a file in a record: relative to the recipe `root` if inside it or its parent folder.

    A clone, or a corpus's folder, can thus be moved with its results.
    """
    path, root = path.resolve(), root.resolve()
    return os.path.relpath(path, root) if path.is_relative_to(root.parent) else str(path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
