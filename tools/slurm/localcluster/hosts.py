"""Node names in /etc/hosts: one marked line per cluster; the rest of the file is not changed."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from .failure import ClusterError

HOSTS = Path("/etc/hosts")


def mark(folder: Path) -> str:
    """The comment at the end of the line of the cluster in this folder."""
    return f"# espnet3 slurm cluster in {folder}"


def with_names(text: str, names: Sequence[str], folder: Path) -> str:
    """The file's content with exactly one line of this cluster."""
    rest = without_names(text, folder)
    if rest and not rest.endswith("\n"):
        rest += "\n"
    return f"{rest}127.0.0.1 {' '.join(names)} {mark(folder)}\n"


def without_names(text: str, folder: Path) -> str:
    """The file's content without this cluster's line."""
    return "".join(line for line in text.splitlines(True) if not line.rstrip("\n").endswith(mark(folder)))


def add(names: Sequence[str], folder: Path) -> None:
    """Make the names resolve to this machine; ClusterError, with the file as before, if they don't."""
    if os.access(HOSTS, os.W_OK):
        _rewrite(lambda text: with_names(text, names, folder))
    try:
        _check(names)
    except ClusterError:
        remove(folder)
        raise


def _check(names: Sequence[str]) -> None:
    for name in names:
        try:
            address = socket.gethostbyname(name)
        except OSError:
            raise ClusterError(
                f"node names must resolve: as root, add this line to {HOSTS}: 127.0.0.1 {' '.join(names)}",
                code=2,
            ) from None
        if not address.startswith("127."):
            raise ClusterError(
                f"{name} is another machine here ({address}); rename it in {HOSTS}, or use fewer --nodes",
                code=2,
            )


def remove(folder: Path) -> None:
    """Remove the cluster's line."""
    if mark(folder) in HOSTS.read_text() and os.access(HOSTS, os.W_OK):
        _rewrite(lambda text: without_names(text, folder))


def _rewrite(change: Callable[[str], str]) -> None:
    """Change the file in place: in a container it is a mount and can't be replaced."""
    with HOSTS.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        old = file.read()
        new = change(old)
        if new == old:
            return
        # Overwritten before it is truncated, so that no process reads an empty file in between.
        file.seek(0)
        file.write(new)
        file.flush()
        file.truncate()
