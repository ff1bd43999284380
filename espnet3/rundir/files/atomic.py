"""Atomic replacement of files: a reader sees the old or the new file, never a part.

A file is written beside its target, flushed to disk and renamed over it: after a kill, a power cut or a
full disk the previous file is unchanged. Works on NFS and Lustre.
"""

import filecmp
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


@contextmanager
def replace_file(path: Path, *, keep_same: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on failure it is removed.

    With `keep_same` a file with the same bytes stays, with its time: who compares times finds no change.

    Raises:
        OSError: when the folder is not writable or the disk is full; `path` is then unchanged.
    """
    with _replaced(path) as temporary:
        yield temporary
        if keep_same and path.is_file() and filecmp.cmp(temporary, path, shallow=False):
            temporary.unlink()
            return
        flush(temporary)
    _sync_folder(path.parent)


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """As `replace_file`, but not flushed to disk; an OSError names `path`."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        if temporary.exists():
            temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if error.errno is not None and error.filename in (
            None,
            str(temporary),
        ):  # none where writing fails: a full disk
            error.filename, error.filename2 = str(path), None
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def flush(path: Path) -> None:
    """Wait until what was written to `path` is on the disk; an OSError says that it is not."""
    with path.open("rb") as written:
        os.fsync(written.fileno())


def temporary_beside(path: Path) -> Path:
    """The temporary file of this process for `path`, in the same folder, so that a rename is atomic."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def remove_torn(folder: Path) -> None:
    """Remove temporary files that killed processes left in `folder`; no process may be writing there."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, keep_same: bool = False) -> None:
    """Replace `path` by `text` (UTF-8), atomically; its folder must exist; see `replace_file`."""
    with replace_file(path, keep_same=keep_same) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Replace `path` by `value` as indented JSON, atomically; its folder must exist.

    A dataclass in `value` is written as its fields, and what JSON does not know as its text. With
    `durable=False` it is not flushed to disk: for files that can be written again after a power cut.
    """
    text = json.dumps(value, indent=2, default=_plain) + "\n"
    if durable:
        write_text(path, text)
        return
    with _replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def without_nan(value: Any) -> Any:
    """`value` (dicts, lists, numbers) with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, if the file system supports it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
