"""The settings of a cluster, its folder, size and ports, as a small record kept in the folder."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .failure import ClusterError

FOLDER_VARIABLE = "ESPNET3_SLURM_DIR"
RECORD = "cluster.json"
# A Unix socket's path holds 107 bytes, and a job step's is folder/spool/node10/node10_<job>.<step>.
LONGEST_FOLDER = 66
# Below the kernel's range of ephemeral ports, so that a killed node's port stays free.
PORTS = range(10000, 15000)


@dataclass(frozen=True)
class Cluster:
    """A cluster on this machine.

    Attributes:
        folder: holds every file of it; private (0700).
        user: runs the daemons and may administer them.
        boot: id of the machine's boot in which the cluster was made; after another boot it is made again.
        ports: of slurmctld, of slurmdbd, then one for each node's slurmd.
        nodes, gpus, cpus: number of nodes, and what each of them reports to have.
        memory_mb: what each node reports; nothing enforces it.
    """

    folder: Path
    user: str
    ports: tuple[int, ...]
    boot: str = ""
    nodes: int = 4
    gpus: int = 4
    cpus: int = 8
    memory_mb: int = 64000

    @property
    def node_names(self) -> list[str]:
        """node1, node2, ..."""
        return [f"node{index}" for index in range(1, self.nodes + 1)]

    @property
    def slurm_conf(self) -> Path:
        """The file that SLURM_CONF names."""
        return self.folder / "etc" / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        """Where munged answers."""
        return self.folder / "munge.sock"

    @property
    def database_socket(self) -> Path:
        """Where MariaDB answers; it has no port."""
        return self.folder / "db.sock"

    def log(self, daemon: str) -> Path:
        """The daemon's own log file."""
        return self.folder / "log" / f"{daemon}.log"


def choose_folder(environment: Mapping[str, str], uid: int) -> Path:
    """The cluster's folder: ESPNET3_SLURM_DIR, or one under XDG_RUNTIME_DIR, or one under /tmp by user id."""
    configured = environment.get(FOLDER_VARIABLE)
    runtime = environment.get("XDG_RUNTIME_DIR")
    if configured:
        folder = Path(os.path.realpath(configured))
    # After `sudo -E` it belongs to another user.
    elif runtime and Path(runtime).is_dir() and Path(runtime).stat().st_uid == uid:
        folder = Path(os.path.realpath(runtime)) / "espnet3-slurm"
    else:
        folder = Path(f"/tmp/espnet3-slurm-{uid}")
    if len(os.fsencode(folder)) > LONGEST_FOLDER or any(letter.isspace() for letter in str(folder)):
        raise ClusterError(
            f"{folder}: a cluster's folder takes at most {LONGEST_FOLDER} characters (it holds Unix sockets)"
            f" and no blanks; set {FOLDER_VARIABLE} to another",
            code=2,
        )
    return folder


def this_boot() -> str:
    """An id that differs for each boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def free_ports(count: int) -> tuple[int, ...]:
    """Free ports, picked at random so that two clusters started at once hardly pick the same."""
    free: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return tuple(free)
    raise ClusterError(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")


def save(cluster: Cluster) -> None:
    """Write the record atomically; it marks the folder as a cluster's."""
    fields = dataclasses.asdict(cluster)
    del fields["folder"]
    partial = cluster.folder / f"{RECORD}.new"
    partial.write_text(json.dumps(fields, indent=1) + "\n")
    partial.replace(cluster.folder / RECORD)


def load(folder: Path) -> Cluster | None:
    """The cluster of this folder; None if none was ever made there."""
    try:
        fields = json.loads((folder / RECORD).read_text())
    except FileNotFoundError:
        return None
    return Cluster(**{**fields, "folder": folder, "ports": tuple(fields["ports"])})
