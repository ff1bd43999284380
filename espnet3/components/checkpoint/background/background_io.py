"""Writes checkpoints while training goes on: it waits only for a copy of the state in memory."""

import logging
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from espnet3.components.checkpoint.atomic_io import (
    AtomicCheckpointIO,
    check_room,
    not_written,
)
from espnet3.components.checkpoint.background.completion import Completion
from espnet3.components.checkpoint.background.snapshot import Snapshot
from espnet3.components.checkpoint.background.writer_handle import WriterDied, WriterHandle
from espnet3.components.checkpoint.background.writer_process import WriteReply, WriteRequest
from espnet3.components.checkpoint.reading import check_readable
from espnet3.errors import UserError, short_path

log = logging.getLogger(__name__)


class BackgroundCheckpointIO(AtomicCheckpointIO):
    """Writes the checkpoints that have a `Completion` in a process of its own, one at a time.

    The process is started by the first of them. Its errors are raised by the next call of `check`, `wait` or
    `save_checkpoint`. Where there is no memory for a copy, training waits for the write.
    """

    def __init__(self) -> None:
        super().__init__()
        self._snapshot: Snapshot | None = None
        self._writer: WriterHandle | None = None
        self._pending: WriteRequest | None = None
        self._is_readable = False

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Copy `checkpoint` and return, with `storage_options` a Completion; without one as the base class.

        Raises:
            UserError: see the base class; or of the checkpoint before.
            OSError: the disk failed for another file than that checkpoint.
        """
        if storage_options is None:
            super().save_checkpoint(checkpoint, path)
            return
        assert isinstance(storage_options, Completion)
        self.wait()
        target = Path(path)
        expected_bytes = check_room(checkpoint, target)
        try:
            self._snapshot = self._snapshot or Snapshot()
            size = self._snapshot.take(checkpoint, expected_bytes)
        except OSError as error:
            log.warning("training waits for checkpoints: no memory for a copy of the state (%s)", error)
            self._save_now(checkpoint, target, storage_options)
            return
        if not self._is_readable:
            check_readable(self._snapshot.cut(size), target)
            self._is_readable = True
        self._pending = WriteRequest(target, size, storage_options)
        self._send(self._pending)

    @property
    def is_complete(self) -> bool:
        """Whether no write is known to be under way."""
        return self._pending is None

    def check(self) -> None:
        """Raise the error of a write that has ended; as `wait`, but it doesn't."""
        if self._pending is not None and self._writer is not None and self._writer.has_replied():
            self.wait()

    def wait(self) -> None:
        """Wait until the last checkpoint is complete, with its place in the ranking.

        Raises:
            UserError: it could not be written, or its writer was killed twice.
            OSError: the disk failed for what comes after it.
        """
        if self._pending is None:
            return
        request, self._pending = self._pending, None
        try:
            reply = self._receive()
        except WriterDied as death:
            log.warning("%s is written again: %s", short_path(request.target), death)
            self._send(request)  # the copy is still there
            try:
                reply = self._receive()
            except WriterDied as again:
                raise not_written(request.target, str(again)) from again
        if isinstance(reply.error, str):
            raise RuntimeError(f"{request.target} or what follows it failed\n{reply.error}")
        if reply.error is not None:
            if reply.is_written:
                raise reply.error
            raise not_written(request.target, reply.error.strerror or str(reply.error)) from reply.error

    def finish(self) -> None:
        """Wait as `wait` does, where another error ends the training: that of the write is only logged."""
        try:
            self.wait()
        except (UserError, OSError, RuntimeError) as error:
            log.error("%s", error)

    def teardown(self) -> None:
        """Wait for the write, end the process, and give the memory back."""
        self.finish()
        if self._writer is not None:
            self._writer.end()
        if self._snapshot is not None:
            self._snapshot.close()
        self._writer = self._snapshot = None

    def _send(self, request: WriteRequest) -> None:
        assert self._snapshot is not None
        self._writer = self._writer or WriterHandle(self._snapshot.descriptor)
        self._writer.send(request)

    def _receive(self) -> WriteReply:
        assert self._writer is not None
        try:
            return self._writer.receive()
        except WriterDied:
            self._writer.end()
            self._writer = None
            raise

    def _save_now(self, checkpoint: dict[str, Any], target: Path, completion: Completion) -> None:
        completion.flush()
        super().save_checkpoint(checkpoint, target)
        if not self._is_readable:
            try:
                check_readable(target, target)
            except UserError:
                target.unlink()
                raise
            self._is_readable = True
        completion.run(target)


def checkpoint_io_of(trainer: Trainer) -> BackgroundCheckpointIO:
    """The one by which `trainer` writes."""
    found = trainer.strategy.checkpoint_io
    assert isinstance(found, BackgroundCheckpointIO), f"RunCheckpoint cannot write by {type(found).__name__}"
    return found
