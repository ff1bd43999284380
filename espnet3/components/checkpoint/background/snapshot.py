"""A copy of a training's state in memory, which another process can read."""

import mmap
import os
from typing import Any

import torch

_GROW_BYTES = 1 << 20


class Snapshot:
    """The bytes of a checkpoint in memory without a name; it is kept, so that later copies find its pages.

    It needs no /dev/shm, which is small in containers. The memory is reserved before anything is copied: too
    little is an error, and not a signal in the middle of the copy.
    """

    def __init__(self) -> None:
        """Raises OSError where the system has no such memory."""
        self.descriptor = os.memfd_create("espnet3-checkpoint", os.MFD_CLOEXEC)
        self._memory: mmap.mmap | None = None
        self._reserved = self._end = 0

    def take(self, checkpoint: dict[str, Any], expected_bytes: int) -> int:
        """Copy a checkpoint, as `torch.save` writes it but without checksums; its size in bytes.

        Raises:
            OSError: there is too little memory.
        """
        self._reserve(expected_bytes)
        self._end = 0
        checksums = torch.serialization.get_crc32_options()
        torch.serialization.set_crc32_options(False)
        try:
            torch.save(checkpoint, self)  # type: ignore[arg-type]  # all that it needs of a file
        finally:
            torch.serialization.set_crc32_options(checksums)
        return self._end

    def write(self, data: memoryview) -> int:
        """Append what torch writes: each tensor at once, from where it lies."""
        count = len(data)
        end = self._end + count
        if end > self._reserved:
            self._reserve(end + _GROW_BYTES)
        assert self._memory is not None
        self._memory[self._end : end] = data
        self._end = end
        return count

    def flush(self) -> None:
        """Nothing: memory is written at once."""

    def cut(self, size: int) -> str:
        """The path of a file that holds the `size` bytes of the last copy, and no more."""
        if size < self._reserved:
            os.ftruncate(self.descriptor, size)
            self._reserved = size
        return f"/proc/self/fd/{self.descriptor}"

    def close(self) -> None:
        """Give the memory back."""
        if self._memory is not None:
            self._memory.close()
        os.close(self.descriptor)

    def _reserve(self, size: int) -> None:
        if size <= self._reserved:
            return
        os.posix_fallocate(self.descriptor, 0, size)
        if self._memory is None:
            self._memory = mmap.mmap(self.descriptor, size)
        else:
            self._memory.resize(size)
        self._reserved = size
