"""Whether the kernel has killed a process of this one's control group because its memory was used up."""

from pathlib import Path

_OWN_GROUPS = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def oom_kills(groups: str, root: Path = _ROOT) -> int:
    """How many processes the kernel has killed for the memory of a control group, and those below it.

    Args:
        groups: the text of /proc/<pid>/cgroup.
        root: where control groups are mounted.
    """
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            file = root / path.lstrip("/") / "memory.events"
        elif controllers == "memory":
            file = root / "memory" / path.lstrip("/") / "memory.oom_control"
        else:
            continue
        try:
            counts = dict(line.split(" ", 1) for line in file.read_text().splitlines() if " " in line)
            return int(counts["oom_kill"])
        except (OSError, KeyError, ValueError):
            continue
    return 0


def own_oom_kills() -> int:
    """As `oom_kills`, of this process."""
    try:
        return oom_kills(_OWN_GROUPS.read_text())
    except OSError:
        return 0
