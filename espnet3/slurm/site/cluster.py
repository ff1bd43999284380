"""The cluster as Slurm reports it: settings, partitions, nodes, and the user's accounts."""

import getpass
import os
import re
import shutil
from dataclasses import dataclass, field

from espnet3.errors import UserError
from espnet3.number_text import counted
from espnet3.slurm.command import SlurmAway, ask
from espnet3.slurm.site.partitions import Partition, parse_partitions
from espnet3.slurm.site.settings import parse_settings

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
"""Needed to submit and follow jobs."""
ACCOUNTING = ("sacct", "sacctmgr")
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class NodeKind:
    """Nodes of a partition with the same hardware."""

    count: int
    cpus: int
    memory_mb: int
    gres: str = ""
    """As Slurm prints it: "gpu:a100:4"."""
    features: str = ""
    """What `constraint` may name."""

    def __str__(self) -> str:
        gres = f", {self.gres}" if self.gres else ""
        features = f", features {self.features}" if self.features else ""
        size = f"{counted(self.count, 'node')} of {counted(self.cpus, 'CPU')}"
        return f"{size}, {self.memory_mb / 1024:.0f} GB{gres}{features}"


@dataclass(frozen=True)
class Association:
    """An account that the user may use, in which partition and with which qualities of service."""

    account: str
    partition: str = ""
    qos: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cluster:
    """What Slurm's commands report about the cluster."""

    version: str = ""
    """Of sbatch: "slurm-wlm 22.05.8"."""
    missing: tuple[str, ...] = ()
    """Commands that are not on PATH."""
    away: str = ""
    """Why the controller does not answer, in Slurm's words; the rest is empty then."""
    settings: dict[str, str] = field(default_factory=dict)
    """`scontrol show config`."""
    partitions: tuple[Partition, ...] = ()
    hardware: dict[str, tuple[NodeKind, ...]] = field(default_factory=dict)
    """Partition -> its nodes."""
    no_sacct: str = ""
    """Why sacct does not answer; empty: it does."""
    no_sacctmgr: str = ""
    """Why accounts are not known."""
    associations: tuple[Association, ...] = ()
    default_account: str = ""
    wckeys: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The cluster's."""
        return self.settings.get("ClusterName", "")

    def setting(self, name: str) -> str:
        """One of Slurm's settings; empty where it is not set."""
        value = self.settings.get(name, "")
        return "" if value in ("(null)", "None", "none") else value

    def enforces(self, limit: str) -> bool:
        """Whether Slurm refuses jobs without "associations", "wckeys", "qos", …"""
        return limit in self.setting("AccountingStorageEnforce").lower().split(",")


def ask_cluster() -> Cluster:
    """Query the cluster with about ten short calls of Slurm's commands."""
    missing = tuple(name for name in (*COMMANDS, *ACCOUNTING) if shutil.which(name) is None)
    if set(COMMANDS) & set(missing):
        return Cluster(missing=missing)
    version = _try("sbatch", "--version")[0].strip()
    shown, away = _try("scontrol", "show", "config")
    if away:
        return Cluster(version=version, missing=missing, away=away)
    me = f"user={_own_name()}"
    no_sacct = _absent("sacct") or _try("sacct", "--noheader", "--parsable2", "--allocations")[1]
    rows, no_sacctmgr = _sacctmgr_show("associations", me, "format=Account,Partition,QOS")
    defaults, _ = _sacctmgr_show("user", me, "format=DefaultAccount")
    keys, _ = _sacctmgr_show("wckey", me, "format=WCKey")
    return Cluster(
        version=version,
        missing=missing,
        settings=parse_settings(shown),
        partitions=tuple(parse_partitions(_try("scontrol", "--oneliner", "show", "partition")[0])),
        hardware=parse_hardware(_try("sinfo", "--noheader", "--exact", "--format=%R|%D|%c|%m|%G|%f")[0]),
        no_sacct=no_sacct,
        no_sacctmgr=_absent("sacctmgr") or no_sacctmgr,
        associations=parse_associations(rows),
        default_account=defaults.strip().split("\n")[0],
        wckeys=tuple(key.lstrip("*") for key in keys.split() if key.lstrip("*")),
    )


def parse_hardware(text: str) -> dict[str, tuple[NodeKind, ...]]:
    """Lines "partition|count|CPUs|MB|GRES|features" of sinfo, by partition."""
    kinds: dict[str, tuple[NodeKind, ...]] = {}
    for line in text.splitlines():
        words = line.strip().split("|")
        if len(words) != 6:
            continue
        name, (count, cpus, memory) = words[0], (int(re.sub(r"\D", "", word) or 0) for word in words[1:4])
        gres, features = ("" if word == "(null)" else word for word in words[4:])
        gres = re.sub(r"\(.*?\)", "", gres)  # which sockets they are on
        kinds[name] = (*kinds.get(name, ()), NodeKind(count, cpus, memory, gres, features))
    return kinds


def parse_associations(text: str) -> tuple[Association, ...]:
    """Lines "account|partition|qos,qos" of sacctmgr."""
    rows = (line.strip().split("|") for line in text.splitlines() if line.count("|") >= 2)
    return tuple(Association(row[0], row[1], tuple(filter(None, row[2].split(",")))) for row in rows)


def _absent(command: str) -> str:
    return "" if shutil.which(command) else f"{command} is not on PATH"


def _sacctmgr_show(entity: str, *arguments: str) -> tuple[str, str]:
    return _try("sacctmgr", "--noheader", "--parsable2", "show", entity, *arguments)


def _try(*command: str) -> tuple[str, str]:
    """The output of a command, and the error message; one of them is empty."""
    try:
        return ask(command, timeout_s=TIMEOUT_S), ""
    except (SlurmAway, UserError) as error:
        return "", str(error)


def _own_name() -> str:
    """The name of the user, or the number where there is no name for it, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
