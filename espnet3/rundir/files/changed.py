"""What has changed in a folder since a time."""

import os
from collections.abc import Collection
from pathlib import Path


def first_changed(folder: Path, since_ns: int, *, ignored: Collection[str] = ()) -> Path | None:
    """A file or folder below `folder` whose content, name or mode has changed since; None if there is none.

    By ctime, which nobody can set: a file that is copied over with its old mtime counts as changed. Of what
    is removed the folder tells it, unless it lay in `folder` itself, whose own times tell nothing.

    Args:
        folder: what can't be read in it counts as changed.
        since_ns: as the file system that holds it counts, in ns since the epoch.
        ignored: names in `folder` that are left out.
    """
    waiting = [folder]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(inside) as entries:
                for entry in entries:
                    if inside == folder and entry.name in ignored:
                        continue
                    if entry.stat(follow_symlinks=False).st_ctime_ns >= since_ns:
                        return Path(entry.path)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
        except OSError:
            return inside
    return None
