"""Whether a folder could be made and filled, without writing anything."""

import errno
import os
from pathlib import Path

from espnet3.rundir.files.reading import exists

_OF_THE_KERNEL = frozenset(
    (
        *("binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs", "fusectl"),
        *("hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "securityfs", "sysfs", "tracefs"),
    )
)
"""Types of file systems that take no files, for root either."""
_MOUNTS = Path("/proc/self/mountinfo")


def folder_problem(folder: Path) -> str:
    """Why `folder` can't be made, or nothing can be made in it; empty if nothing is known against it."""
    nearest = next(path for path in (folder, *folder.parents) if exists(path))
    if not nearest.is_dir():
        return f"{nearest} is a file"
    kind = _file_system(nearest.resolve())
    if kind in _OF_THE_KERNEL:
        return f"{nearest} is a file system of the kernel ({kind})"
    if _is_read_only(nearest):
        return f"{nearest} is on a file system that is mounted read-only"
    return "" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest}: {os.strerror(errno.EACCES)}"


def _is_read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:  # who tries to write is told
        return False


def _file_system(path: Path) -> str:
    """The type of the file system that `path` is on; empty if it is not known."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    kinds = {}  # a later mount hides an earlier one at the same place
    for mounted, _, about in (line.partition(" - ") for line in lines):
        place = mounted.split(" ")[4].encode().decode("unicode_escape")
        kinds[place] = about.split(" ")[0]
    return next((kinds[place] for place in map(str, (path, *path.parents)) if place in kinds), "")
