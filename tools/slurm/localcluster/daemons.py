"""The daemons of a cluster, as plain data in the order in which they start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .settings import Cluster


@dataclass(frozen=True)
class Daemon:
    """One daemon.

    Attributes:
        name: unique in the cluster; a node's slurmd has the node's name.
        command: stays in the foreground.
        address: the Unix socket or the port of 127.0.0.1 that takes connections once the daemon is ready.
        after: daemons that must be ready before this one starts.
        environment: what it needs beyond the usual.
    """

    name: str
    command: tuple[str, ...]
    address: Path | int
    after: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def daemons(cluster: Cluster) -> list[Daemon]:
    """Everything that runs while the cluster is up."""
    controller, database, *_ = cluster.ports
    folder = cluster.folder
    munged = Daemon(
        "munged",
        (
            "munged",
            "--foreground",
            # It would refuse a socket in a folder that others can't read.
            "--force",
            "--num-threads=10",
            f"--socket={cluster.munge_socket}",
            f"--key-file={folder}/etc/munge.key",
            f"--seed-file={folder}/munge.seed",
            f"--pid-file={folder}/munge.pid",
        ),
        cluster.munge_socket,
    )
    mariadbd = Daemon(
        "mariadbd",
        (
            "mariadbd",
            *database_options(cluster),
            "--skip-networking",
            f"--socket={cluster.database_socket}",
            f"--pid-file={folder}/db.pid",
            f"--log-error={cluster.log('mariadbd')}",
            # slurmdbd asks for it, for its long transactions
            "--innodb-lock-wait-timeout=900",
        ),
        cluster.database_socket,
    )
    slurmdbd = Daemon(
        "slurmdbd",
        ("slurmdbd", "-D"),
        database,
        after=("munged", "mariadbd"),
        environment={"MYSQL_UNIX_PORT": str(cluster.database_socket)},
    )
    slurmctld = Daemon(
        "slurmctld",
        # -i: start despite a state file that was incomplete when the machine went down.
        ("slurmctld", "-D", "-i", "-f", str(cluster.slurm_conf)),
        controller,
        after=("slurmdbd",),
    )
    return [munged, mariadbd, slurmdbd, slurmctld, *(slurmd(cluster, name) for name in cluster.node_names)]


def slurmd(cluster: Cluster, name: str) -> Daemon:
    """One node. -b: report a reboot, so that earlier jobs on the node are ended."""
    port = cluster.ports[2 + cluster.node_names.index(name)]
    command = ("slurmd", "-D", "-b", "-N", name, "-f", str(cluster.slurm_conf))
    return Daemon(name, command, port, after=("slurmctld",))


def database_options(cluster: Cluster) -> tuple[str, ...]:
    """What MariaDB's server and its installer both take."""
    return (
        "--no-defaults",
        f"--user={cluster.user}",
        f"--datadir={cluster.folder}/db",
        f"--tmpdir={cluster.folder}",
        "--innodb-log-file-size=8M",
        "--innodb-buffer-pool-size=32M",
        # No flushing to disk, which took half the start-up time: killed processes lose nothing without it,
        # and after a reboot the cluster is made from scratch.
        "--innodb-flush-method=nosync",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=OFF",
        "--sync-frm=OFF",
    )


def database_installer(cluster: Cluster, directory: Path) -> tuple[str, ...]:
    """The command that makes an empty database in `directory`."""
    return (
        "mariadb-install-db",
        *(option for option in database_options(cluster) if not option.startswith("--datadir=")),
        f"--datadir={directory}",
        # the socket lies in a private folder: no password
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
    )
