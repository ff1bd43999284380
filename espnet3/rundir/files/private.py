"""Folders and files whose content is executed as the user: nobody else may write there."""

import os
import stat
from functools import partial
from pathlib import Path

from espnet3.errors import UserError
from espnet3.rundir.files.reading import read_late


def make_private(folder: Path) -> None:
    """Make `folder`, which must not exist, with mode 0700; also missing parents.

    Raises:
        UserError: the file system does not keep the mode.
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
    """Refuse `folder` unless the user owns it and nobody else can write to it.

    Its parent may be writable by a group: others can then replace the folder, but not with one that the
    user owns. The folder must exist; another host may have made it just now.

    Raises:
        UserError: says what is wrong and how to fix it.
    """
    read_late(partial(os.path.lexists, folder), folder.parent)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise UserError(f"{folder} is no folder but a link, which others may have put there: it is not run")
    if status.st_uid != os.geteuid():
        raise UserError(f"{folder} belongs to another user (uid {status.st_uid}): it is not run as you")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(f"{folder} can be written by others, who could run code as you: chmod 700 {folder}")


def check_private_file(path: Path) -> None:
    """Refuse the file `path` unless the user owns it and its folder, and nobody else can write to them.

    Raises:
        UserError: says what is wrong and how to fix it.
        FileNotFoundError: there is no such file.
    """
    check_private(path.parent)
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is no file but a link, which others may have put there: it is not run")
    if status.st_uid != os.geteuid():
        raise UserError(f"{path} belongs to another user (uid {status.st_uid}): it is not run as you")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and path.parent.stat().st_mode & 0o011:
        raise UserError(f"{path} can be written by others, who could run code as you: chmod go-w {path}")
