"""Folders whose content is run as the user's: nobody else may write there."""

import os
import stat
from pathlib import Path

from espnet3.errors import UserError


def make_private(folder: Path) -> None:
    """Make `folder`, which must not be there yet, for the user alone (0700); those above it if missing.

    Raises:
        UserError: this file system does not keep others out.
        OSError: it can't be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    try:
        check_private(folder)
    except UserError:
        folder.rmdir()
        raise


def check_private(folder: Path) -> None:
    """Refuse `folder` unless it is the user's own and only the user can write to it.

    What lies above it may belong to a group: others can then put another folder in its place, but none that
    passes for the user's own.

    Raises:
        UserError: says how to mend it.
    """
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise UserError(f"{folder} is no folder but a link, which others may have put there: it is not run")
    if status.st_uid != os.geteuid():
        raise UserError(f"{folder} belongs to another user (uid {status.st_uid}): it is not run as you")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(f"{folder} can be written by others, who could run code as you: chmod 700 {folder}")
