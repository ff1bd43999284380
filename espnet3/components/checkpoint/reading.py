"""Reads checkpoints: a damaged one is told apart from one that can't be read now."""

import errno
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from espnet3.components.checkpoint.atomic_io import AtomicCheckpointIO
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
            _check_sums(path)
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


def check_readable(path: Path) -> None:
    """Read back a checkpoint that was just written: a callback may have added what is not plain data.

    Raises:
        UserError: training could not continue from it; the file is removed.
    """
    try:
        AtomicCheckpointIO().load_checkpoint(path)
    except UnpicklingError as error:
        path.unlink()
        raise UserError(
            f"{short_path(path)} can't be read back: {_problem(error)}; a checkpoint is data, never code: the"
            " state_dict of a callback must give tensors, numbers, text, lists and dicts"
        ) from error


def _problem(error: Exception) -> str:
    """What is wrong with a file whose reading raised `error`, in one line."""
    if isinstance(error, UnpicklingError) and (found := re.search(r"GLOBAL (\S+)", str(error))):
        return f"it holds a {found[1]}, and not only tensors and plain data"
    reason = (str(error) or "nothing more is known").splitlines()[0][:200]
    return f"its content is damaged ({type(error).__name__}: {reason})"


def _check_sums(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        folder = next(
            (entry.filename for entry in archive.infolist() if entry.external_attr & _IS_FOLDER), None
        )
        damaged = folder or archive.testzip()
    if damaged is not None:
        raise DamagedError(f"its part {damaged} is damaged")
