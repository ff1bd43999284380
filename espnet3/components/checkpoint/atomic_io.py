"""How checkpoints are written and read: whole or not at all, and as data, never as code."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import CheckpointIO

from espnet3.rundir.atomic import replace_file


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, flushes to the disk, and renames over it.

    Lightning writes to the system's temporary folder and moves: on another file system that is a copy,
    and a kill during it leaves half a checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint` to `path`; an earlier file there stays until the new one is on the disk.

        Raises:
            OSError: no permission or no space; the earlier file is unchanged.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(target) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint that holds tensors and plain data only, whatever `weights_only` says.

        Raises:
            FileNotFoundError: there is none.
        """
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return checkpoint

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove the file, if it is there."""
        Path(path).unlink(missing_ok=True)
