"""Reads checkpoints: a damaged one is told apart from one that can't be read now."""

import errno
import io
import re
import zipfile
import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

from espnet3.components.checkpoint.atomic_io import AtomicCheckpointIO
from espnet3.components.checkpoint.zip_checksums import LOCAL_HEADER, content_offset
from espnet3.errors import UserError, short_path
from espnet3.rundir.files.reading import cannot_read

_ZIP_MAGIC = b"PK\x03\x04"
_IS_FOLDER = 0x10
"""An attribute in the archive's table: torch has none, and leaves a tensor of such an entry as memory was."""


class DamagedError(Exception):
    """The file was read, and its content is not what torch has written; the message says what is wrong."""


def read_checkpoint(path: Path) -> Any:
    """What a file written by `torch.save` holds, on the CPU: tensors and plain data, never code.

    Its checksums are compared, which torch writes and does not check: a flipped bit would go unnoticed.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: the content is wrong.
        UserError: it can't be read now: permissions, the disk, or too little memory.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC  # torch before 1.6 wrote bare pickles
        if is_zip:
            return _load_once(path)
        return AtomicCheckpointIO().load_checkpoint(path)
    except FileNotFoundError:
        raise
    except DamagedError:
        raise
    except MemoryError as error:
        raise UserError(f"can't read {short_path(path)}: too little memory") from error
    except Exception as error:  # a damaged file may raise anything
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a wrong offset in its table
            raise cannot_read(error, path) from error
        if "allocate memory" in str(error):
            raise UserError(f"can't read {short_path(path)}: too little memory") from error
        raise DamagedError(_problem(error)) from error


def check_readable(file: str | Path, target: Path) -> None:
    """Read back what is to be the checkpoint `target`: a callback may have added what is not plain data.

    Args:
        file: what holds it; its tensors are not read.
        target: the name of the checkpoint.

    Raises:
        UserError: training could not continue from it.
    """
    try:
        torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:
        raise UserError(
            f"{short_path(target)} can't be read back: {_problem(error)}; a checkpoint is data, never code:"
            " the state_dict of a callback must give tensors, numbers, text, lists and dicts"
        ) from error


def _problem(error: Exception) -> str:
    """What is wrong with a file whose reading raised `error`, in one line."""
    if isinstance(error, UnpicklingError) and (found := re.search(r"GLOBAL (\S+)", str(error))):
        return f"it holds a {found[1]}, and not only tensors and plain data"
    reason = (str(error) or "nothing more is known").splitlines()[0][:200]
    return f"its content is damaged ({type(error).__name__}: {reason})"


def _load_once(path: Path) -> Any:
    """Load an archive, and compare the checksums of what is loaded, as it passes: a file is read once."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for part in archive.infolist():
            if part.external_attr & _IS_FOLDER:
                raise DamagedError(f"its part {part.filename} is damaged")
        parts = {_content_offset(file, part): part for part in archive.infolist()}
        small = [part for part in parts.values() if "/data/" not in part.filename]
        for part in small:  # before what they say of the others is believed
            _check_part(archive, part)
        file.seek(0)  # where torch looks for what kind of file it is
        passing = _PassingChecksums(file)
        content = torch.load(passing, map_location="cpu", weights_only=True)  # type: ignore[arg-type]
        for offset, part in parts.items():
            if part in small:
                continue
            read = passing.checksums.get((offset, part.file_size))
            if read is None and part.file_size:
                _check_part(archive, part)  # no tensor, or not read at once
            elif part.file_size and read != part.CRC:
                raise DamagedError(f"its part {part.filename} is damaged")
    return content


class _PassingChecksums(io.RawIOBase):
    """A file for torch that notes the CRC-32 of each piece it reads, by (offset, size)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.checksums: dict[tuple[int, int], int] = {}

    def readinto(self, buffer: Any) -> int:
        offset = self._file.tell()
        with memoryview(buffer).cast("B") as view:
            count = self._file.readinto(view)  # type: ignore[attr-defined]
            self.checksums[offset, count] = zlib.crc32(view[:count])
        return int(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _content_offset(file: BinaryIO, part: zipfile.ZipInfo) -> int:
    file.seek(part.header_offset)
    return content_offset(file.read(LOCAL_HEADER), part)


def _check_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    with archive.open(part) as content:
        try:
            while content.read(1 << 20):
                pass
        except zipfile.BadZipFile as error:
            raise DamagedError(f"its part {part.filename} is damaged") from error
