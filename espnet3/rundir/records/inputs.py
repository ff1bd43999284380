"""The files that a stage has read, as they were, and which of them have changed since.

The few that are known before a stage runs, such as manifests, are in its record. The others, such as every
audio file of a corpus, are in a file list, named by its content: stages and trials that have read the
same files share it, and whoever reads a record, such as `espnet3 status`, does not read it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any

from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.files.json_file import read_plain, with_format

CONTENT_UP_TO_BYTES = 64 << 20
"""Files up to this size are compared by content, larger ones by size and mtime; ..."""
CONTENT_IN_ALL_BYTES = 256 << 20
"""... and so are files beyond this total, so that recording a stage does not read a whole corpus."""

FileStates = dict[str, Sequence[Any]]
"""Name -> [size in bytes, mtime in ns, SHA-256 or ""]."""


def file_states(paths: Iterable[Path], root: Path) -> FileStates:
    """Size, mtime and hash (of small files) of the existing `paths`, by their `recorded_name`."""
    states: FileStates = {}
    budget = CONTENT_IN_ALL_BYTES
    name_of_folder: dict[Path, str] = {}
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            continue
        if not S_ISREG(stat.st_mode):
            continue
        if (folder := name_of_folder.get(path.parent)) is None:
            folder = name_of_folder[path.parent] = recorded_name(path.parent, root)
        is_read = stat.st_size <= min(CONTENT_UP_TO_BYTES, budget)
        budget -= stat.st_size if is_read else 0
        name = path.name if folder == "." else f"{folder}/{path.name}"
        states[name] = [stat.st_size, stat.st_mtime_ns, _sha256(path) if is_read else ""]
    return states


def changed_files(states: Mapping[str, Sequence[Any]], root: Path) -> dict[str, str]:
    """The files of `states` that have changed since, by name: "changed" or "is gone"."""
    problems = {}
    for name, state in states.items():
        if len(state) != 3:  # damaged
            problems[name] = "is not known"
            continue
        size, mtime_ns, content = state
        path = f"{root}/{name}" if not name.startswith("/") else name
        try:
            now = os.stat(path)  # noqa: PTH116 (a Path for each of 281,000 files takes a second)
        except (OSError, ValueError):
            problems[name] = "is gone"
            continue
        if now.st_mtime_ns == mtime_ns and now.st_size == size:
            continue
        if not content or now.st_size != size or _sha256(Path(path)) != content:
            problems[name] = "changed"
    return problems


def write_file_list(folder: Path, states: FileStates) -> Path | None:
    """Write `states` into `folder` unless they are there already; returns the file, None for no files."""
    if not states:
        return None
    sizes, mtimes, contents = zip(*states.values(), strict=True)
    columns = {"names": list(states), "sizes": sizes, "mtimes_ns": mtimes, "sha256": contents}
    text = json.dumps(with_format(columns))
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return path


def read_file_list(path: Path) -> FileStates:
    """The states in a file list; none if it is gone or unreadable: then nothing is known of these files.

    Raises:
        UserError: written by a newer version.
    """
    try:
        columns = read_plain(path)
        rows = zip(columns["sizes"], columns["mtimes_ns"], columns["sha256"], strict=True)
        return dict(zip(columns["names"], rows, strict=True))
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def recorded_name(path: Path, root: Path) -> str:
    """The name of a file in a record: relative to the recipe `root` if inside it or its parent folder.

    A clone, or a corpus's folder, can thus be moved with its results.
    """
    path, root = path.resolve(), root.resolve()
    return os.path.relpath(path, root) if path.is_relative_to(root.parent) else str(path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
