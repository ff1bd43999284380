"""Writes checkpoints atomically, and reads them as data, never as code."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import CheckpointIO

from espnet3.errors import UserError
from espnet3.rundir.files.atomic import replace_file

SPARE_BYTES = 1 << 20
"""Space for what a checkpoint holds besides its tensors, and for other processes that write meanwhile."""


class AtomicCheckpointIO(CheckpointIO):
    """Writes a file beside the target, flushes it to the disk, and renames it to the target.

    Lightning writes to the system's temporary folder and moves: on another file system that is a copy,
    and a kill during it leaves half a checkpoint.
    """

    def __init__(self) -> None:
        self._held: tuple[str, dict[str, Any]] | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint` to `path`; an earlier file there stays until the new one is on the disk.

        Raises:
            UserError: no space, no permission, or the disk fails; the earlier file is unchanged.
        """
        target = Path(path)
        check_room(checkpoint, target)
        try:
            with replace_file(target) as temporary, temporary.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            reason = _os_error(error)
            if reason is None:
                raise
            raise not_written(target, reason.strerror or str(reason)) from error

    def hold(self, path: str | os.PathLike[str], checkpoint: dict[str, Any]) -> None:
        """Have the next `load_checkpoint` of `path` give `checkpoint`, which was read from it already."""
        self._held = (str(path), checkpoint)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint that holds tensors and plain data only, whatever `weights_only` says.

        Raises:
            FileNotFoundError: there is none.
        """
        held, self._held = self._held, None
        if held is not None and held[0] == str(path):
            return held[1]
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return checkpoint

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove the file, if it is there."""
        Path(path).unlink(missing_ok=True)


_FREE_SPACE = (
    "free some space and start again: training continues from the newest checkpoint, which is intact"
)


def disk_full_error(error: OSError, directory: Path) -> UserError | None:
    """The error for the user when the disk is full for a file of a training, such as a log; else None."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return UserError(f"{error.filename or directory}: {error.strerror}; {_FREE_SPACE}")


def not_written(target: Path, reason: str) -> UserError:
    """The error for the user when a checkpoint could not be written."""
    return UserError(f"{target} was not written: {reason}; {_FREE_SPACE}")


def check_room(checkpoint: dict[str, Any], target: Path) -> int:
    """About the bytes of `checkpoint` on the disk, which has room for them; makes the folder of `target`.

    Raises:
        UserError: it has none, or it fails.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        needed, free = tensor_bytes(checkpoint) + SPARE_BYTES, shutil.disk_usage(target.parent).free
    except OSError as error:
        raise not_written(target, error.strerror or str(error)) from error
    if needed > free:
        raise not_written(target, f"it needs {_megabytes(needed)}, the disk has {_megabytes(free)} left")
    return needed


def tensor_bytes(value: Any) -> int:
    """Bytes on the disk of the tensors in a nested structure; shared storage counts once."""
    return sum({storage.data_ptr(): storage.nbytes() for storage in _storages(value)}.values())


def _storages(value: Any) -> Iterator[torch.UntypedStorage]:
    if isinstance(value, torch.Tensor):
        yield value.untyped_storage()
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _storages(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _storages(inner)


def _os_error(error: BaseException | None) -> OSError | None:
    """The OSError that an error is or was caused by: torch's writer raises one of its own."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
