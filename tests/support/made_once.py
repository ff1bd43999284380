"""What is made once for all workers of pytest; not a test."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def made_once(marker: Path) -> Iterator[bool]:
    """Only one worker at a time; yields whether it has to make what `marker` stands for.

    The marker is written when that succeeds.
    """
    marker.parent.mkdir(parents=True, exist_ok=True)
    with marker.with_name(f"{marker.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not marker.exists()
        yield missing
        if missing:
            marker.touch()
