"""Start supervised daemons, find them through /proc, and end them with all their descendants."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from .daemons import Daemon
from .failure import ClusterError
from .settings import Cluster

SUPERVISE = Path(__file__).with_name("supervise.py")


def plain_environment(cluster: Cluster) -> dict[str, str]:
    """An environment without the caller's Slurm variables, whose PATH has the daemons."""
    kept = {key: value for key, value in os.environ.items() if key in ("HOME", "LANG", "TZ", "USER")}
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    return {**kept, "PATH": path, "SLURM_CONF": str(cluster.slurm_conf)}


def start(cluster: Cluster, daemon: Daemon) -> subprocess.Popen[bytes]:
    """Start a daemon in a new session; returns the process of its supervisor."""
    with cluster.log(daemon.name).with_suffix(".out").open("ab") as output:
        return subprocess.Popen(
            # -I -S: no site packages, which a supervisor doesn't need and which take time
            [sys.executable, "-I", "-S", str(SUPERVISE), str(cluster.folder), daemon.name, *daemon.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cluster.folder,
            env={**plain_environment(cluster), **daemon.environment},
            start_new_session=True,
        )


def supervisors(folder: Path) -> dict[str, list[int]]:
    """Pids of this folder's supervisors by daemon name.

    A name has two when a slurmd was killed and restarted while job steps of the first still run.
    """
    pids: dict[str, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
            owner = entry.stat().st_uid
        except OSError:
            continue
        ours = ["-I", "-S", SUPERVISE.name, str(folder)]
        if len(arguments) > 6 and [*arguments[1:3], Path(arguments[3]).name, arguments[4]] == ours:
            if owner != os.geteuid():
                continue
            pids[arguments[5]].append(int(entry.name))
    return dict(pids)


def daemon_pid(supervisor: int, daemon: Daemon) -> int | None:
    """The daemon's pid below its supervisor; None if it ended and only its descendants are left."""
    for pid in tree(supervisor)[1:]:
        state = _stat(pid)
        if state and state[1] == supervisor and state[0] == daemon.command[0]:
            return pid
    return None


def tree(pid: int) -> list[int]:
    """A process and its descendants, parents first; without zombies."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        state = _stat(int(entry.name)) if entry.name.isdigit() else None
        if state:
            children[state[1]].append(int(entry.name))
    members = [pid] if _stat(pid) else []
    for member in members:
        members += children[member]
    return members


def end(supervisors: list[int], timeout: float = 10.0) -> None:
    """Kill everything below these supervisors as a power cut does: at once, and parents first, so that none
    can report the end of its children. A supervisor reaps them and then ends."""
    deadline = time.monotonic() + timeout
    for supervisor in supervisors:
        while members := tree(supervisor):
            for member in members[1:]:
                _kill(member)
            if time.monotonic() > deadline:
                raise ClusterError(f"processes {members} did not end when killed")
            time.sleep(0.005)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _stat(pid: int) -> tuple[str, int] | None:
    """(command name, parent) of a living process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name is in parentheses and may hold anything.
    name, rest = text[text.index("(") + 1 :].rsplit(")", 1)
    state, parent = rest.split()[:2]
    return None if state in "ZX" else (name, int(parent))
