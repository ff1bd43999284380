"""The cluster's private folder: made, locked, filled and removed."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .configuration import configuration_files, gpu_files
from .daemons import database_installer
from .failure import ClusterError
from .processes import plain_environment
from .settings import FOLDER_VARIABLE, RECORD, Cluster

LOCK_SECONDS = 180


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder, which is made if needed, for this command. It is removed if it is empty at the end.

    Raises ClusterError if it isn't private to this user, holds something else, or stays locked.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _flock(descriptor, folder, deadline)
            # While we waited, `down` may have removed the folder that we opened.
            if folder.exists() and os.fstat(descriptor).st_ino == folder.stat().st_ino:
                try:
                    yield
                finally:
                    if folder.is_dir() and not any(folder.iterdir()):
                        folder.rmdir()
                return
        finally:
            os.close(descriptor)


def _flock(descriptor: int, folder: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{folder} is in use by another cluster command; gave up after {LOCK_SECONDS} s"
                ) from None
            time.sleep(0.05)


def _check(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise ClusterError(f"{folder}: is not a folder of yours; set {FOLDER_VARIABLE} to another", code=2)
    names = {path.name for path in folder.iterdir()}
    if names - {f"{RECORD}.new"} and RECORD not in names:
        raise ClusterError(
            f"{folder}: holds files other than a cluster's; set {FOLDER_VARIABLE} to another", code=2
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        folder.chmod(0o700)


def fill(cluster: Cluster) -> None:
    """Write every file that the daemons need; an existing key and database are kept."""
    folder = cluster.folder
    for name in ("etc", "log", "spool", "state", "gpu", *(f"spool/{node}" for node in cluster.node_names)):
        (folder / name).mkdir(exist_ok=True)
    for path, text in configuration_files(cluster).items():
        _write_private(path, text.encode())
    for path in gpu_files(cluster):
        # Slurm insists on a device but never opens it.
        if not path.is_symlink():
            path.symlink_to(os.devnull)
    key = folder / "etc" / "munge.key"
    if not key.exists():
        _write_private(key, secrets.token_bytes(128))
    if not (folder / "db").exists():
        _make_database(cluster)


def _write_private(path: Path, content: bytes) -> None:
    """Write a file atomically: a command killed here is repeated later."""
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    partial.replace(path)


def _make_database(cluster: Cluster) -> None:
    partial = cluster.folder / "db.new"
    shutil.rmtree(partial, ignore_errors=True)
    result = subprocess.run(
        database_installer(cluster, partial),
        env=plain_environment(cluster),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if result.returncode:
        lines = [line for line in (result.stdout + result.stderr).splitlines() if "ERROR" in line]
        raise ClusterError(f"MariaDB could not make its database: {(lines or ['no message'])[0]}")
    partial.rename(cluster.folder / "db")


def empty(folder: Path) -> None:
    """Remove everything in the folder, its record last: an interrupted removal can be repeated."""
    record = folder / RECORD
    for path in folder.iterdir():
        if path == record:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    record.unlink(missing_ok=True)
