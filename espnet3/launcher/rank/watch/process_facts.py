"""What /proc and faulthandler say of a rank that hangs, and of the processes that it has started."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from espnet3.rundir.records.stall import StalledProcess
from espnet3.rundir.watch.stack_dump import SIGNAL, can_dump

_DUMP_WITHIN_S = 2.0
_QUIET_S = 0.05


def facts_of(pid: int, dump: Path) -> StalledProcess:
    """How the process stands still, with its stacks, which it appends to the file `dump`."""
    state = _field(pid, "State").partition(" ")[0]
    stacks = _stacks(pid, dump) if state not in ("T", "t", "Z", "") else ""
    return StalledProcess(pid, _field(pid, "Name"), state, _kernel(pid), stacks)


def children_of(pid: int, *, without: int) -> list[int]:
    """The processes below `pid` that run Python code of ours, or are stopped; not `without`."""
    parents = dict(_parents())
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return [
        child
        for child in sorted(below - {pid, without})
        if can_dump(child) or _field(child, "State").startswith(("T", "t"))
    ]


def _stacks(pid: int, dump: Path) -> str:
    if not can_dump(pid):
        return ""
    try:
        begin = size = dump.stat().st_size
        os.kill(pid, SIGNAL)
        deadline = time.monotonic() + _DUMP_WITHIN_S
        while time.monotonic() < deadline:
            time.sleep(_QUIET_S)
            before, size = size, dump.stat().st_size
            if size == before > begin:
                break
        with dump.open("rb") as file:
            file.seek(begin)
            return file.read().decode(errors="replace").replace("\0", "")
    except OSError:
        return ""


def _kernel(pid: int) -> str:
    """The function of the kernel and the system call that it waits in, as far as it may be read."""
    texts = []
    for name in ("wchan", "syscall"):
        with suppress(OSError):
            text = Path(f"/proc/{pid}/{name}").read_text("ascii", errors="replace").strip()
            if text and text != "0":
                texts.append(f"{name} {text}")
    return ", ".join(texts)


def _field(pid: int, name: str) -> str:
    """A field of /proc/<pid>/status; empty if there is none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")


def _parents() -> Iterator[tuple[int, int]]:
    """Each process of this machine and its parent."""
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                stat = (path / "stat").read_text("utf-8", errors="replace")
                yield int(path.name), int(stat.rpartition(")")[2].split()[1])
