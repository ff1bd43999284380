"""Start a cluster, report its status, take it down, and kill or revive a node."""

from __future__ import annotations

import dataclasses
import functools
import os
import pwd
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from . import hosts, packages, processes
from .controller import Node, nodes
from .daemons import Daemon, daemons, slurmd
from .failure import ClusterError
from .folder import empty, fill, locked
from .settings import Cluster, free_ports, load, save, this_boot

# Many times what a daemon takes on a busy laptop.
READY_SECONDS = 60.0


def up(folder: Path, **size: int) -> Cluster:
    """Start the daemons of the cluster that aren't running.

    Args:
        folder: the cluster's; what an interrupted command left there is completed.
        size: nodes, gpus, cpus, if not the defaults; an existing cluster must have the same.
    """
    packages.install()
    with locked(folder):
        cluster = load(folder)
        if cluster is not None and cluster.boot != this_boot():
            empty(folder)
            cluster = None
        if cluster is None:
            cluster = Cluster(folder, pwd.getpwuid(os.geteuid()).pw_name, (), this_boot(), **size)
            cluster = dataclasses.replace(cluster, ports=free_ports(2 + cluster.nodes))
        for key, wanted in size.items():
            has = getattr(cluster, key)
            if has != wanted:
                raise ClusterError(
                    f"the cluster in {folder} has {has} {key}, not {wanted}; take it down first", code=2
                )
        hosts.add(cluster.node_names, folder)
        save(cluster)
        fill(cluster)
        _start(cluster, daemons(cluster))
        return cluster


def down(folder: Path) -> bool:
    """End every process of the cluster and remove its files; False if there was nothing."""
    if not folder.exists() and not processes.supervisors(folder):
        hosts.remove(folder)
        return False
    with locked(folder):
        # The controller first, so that it doesn't requeue the jobs of the nodes.
        running = processes.supervisors(folder)
        for name in sorted(running, key=lambda name: name != "slurmctld"):
            processes.end(running[name])
        hosts.remove(folder)
        empty(folder)
    return True


def kill_node(folder: Path, name: str) -> None:
    """End slurmd and every job step of the node at once; slurmctld isn't informed."""
    _existing(folder, name)
    with locked(folder):
        processes.end(processes.supervisors(folder).get(name, []))


def revive_node(folder: Path, name: str) -> None:
    """Start the node again and wait until slurmctld uses it."""
    cluster = _existing(folder, name)
    with locked(folder):
        _start(cluster, [slurmd(cluster, name)])


def existing(folder: Path) -> Cluster:
    """The cluster in this folder; ClusterError if there is none."""
    cluster = load(folder)
    if cluster is None:
        raise ClusterError(f"no cluster in {folder}; start one with: tools/slurm/cluster up", code=2)
    return cluster


def status(cluster: Cluster) -> dict[str, tuple[int | None, Node | None]]:
    """Every daemon's pid (None: not running), and for a node its state according to slurmctld."""
    pids = _pids(cluster.folder, daemons(cluster))
    known = nodes(cluster) if pids["slurmctld"] else {}
    return {name: (pid, known.get(name)) for name, pid in pids.items()}


def _existing(folder: Path, name: str) -> Cluster:
    cluster = existing(folder)
    if name not in cluster.node_names:
        raise ClusterError(f"{name}: no such node; there are {', '.join(cluster.node_names)}", code=2)
    return cluster


def _pids(folder: Path, described: list[Daemon]) -> dict[str, int | None]:
    running = processes.supervisors(folder)
    pids: dict[str, int | None] = {}
    for daemon in described:
        candidates = (processes.daemon_pid(supervisor, daemon) for supervisor in running.get(daemon.name, []))
        pids[daemon.name] = next((pid for pid in candidates if pid is not None), None)
    return pids


def _start(cluster: Cluster, described: list[Daemon]) -> None:
    """Start the daemons that aren't running, each when those before it are ready; wait for all."""
    running = _pids(cluster.folder, described)
    waiting = {daemon.name: daemon for daemon in described}
    started: dict[str, subprocess.Popen[bytes]] = {}
    since: dict[str, int] = {}

    def wait(name: str, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not condition():
            if name in started and started[name].poll() is not None:
                # A daemon that a killed `up` had just started may be running instead of this one.
                if _pids(cluster.folder, described)[name] is None:
                    raise ClusterError(f"{name} ended: {last_error(cluster, name)}")
                del started[name]
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"waited {READY_SECONDS:.0f} s for {name} {what}: {last_error(cluster, name)}"
                )
            time.sleep(0.02)

    def await_ready(name: str) -> None:
        if daemon := waiting.pop(name, None):
            wait(name, lambda: _answers(daemon.address), "to take connections")

    for daemon in described:
        for name in daemon.after:
            await_ready(name)
        if running[daemon.name] is None:
            if isinstance(daemon.address, Path):
                daemon.address.unlink(missing_ok=True)
            since[daemon.name] = int(time.time())
            started[daemon.name] = processes.start(cluster, daemon)
    for daemon in described:
        await_ready(daemon.name)
    for daemon in described:
        if daemon.name in cluster.node_names:
            joined = functools.partial(_joined, cluster, daemon.name, since.get(daemon.name, 0))
            wait(daemon.name, joined, "to join the cluster")


def _joined(cluster: Cluster, name: str, since: int) -> bool:
    node = nodes(cluster).get(name)
    return node is not None and node.usable and node.started >= since


def _answers(address: Path | int) -> bool:
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(address) if isinstance(address, Path) else ("127.0.0.1", address))
        except OSError:
            return False
        return True


def last_error(cluster: Cluster, name: str) -> str:
    """The last error in a daemon's log, or else its last line."""
    log = cluster.log(name)
    lines = [
        line
        for path in (log, log.with_suffix(".out"))
        if path.exists()
        for line in path.read_text(errors="replace").splitlines()
        if line.strip()
    ]
    fatal = [line for line in lines if "fatal" in line]
    errors = [line for line in lines if "error" in line.lower()]
    return (fatal or errors or lines or ["it wrote no log"])[-1]
