"""Slurm's partitions and their limits, as `scontrol show partition` prints them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from espnet3.slurm.command import ask
from espnet3.slurm.scontrol import fields


@dataclass(frozen=True)
class Partition:
    """A partition and its limits."""

    name: str
    is_default: bool = False
    state: str = "UP"
    max_minutes: float | None = None
    """Time limit of a job; None: there is none."""
    max_nodes: int | None = None
    """Nodes of a job; None: as many as there are."""
    nodes: int = 0
    gpus: int = 0
    """Total over all nodes."""
    grace_s: int = 0
    """Between SIGTERM and SIGKILL when a job is preempted."""
    preempt_mode: str = "OFF"
    accounts: tuple[str, ...] = ()
    """Accounts that may use it; empty: all."""
    qos: tuple[str, ...] = ()
    """Qualities of service that may be used in it; empty: all."""

    @property
    def time_limit(self) -> str:
        """In words: "1 day 12:00 h", "no limit"."""
        if self.max_minutes is None:
            return "no limit"
        days, minutes = divmod(round(self.max_minutes), 24 * 60)
        words = [f"{days} day{'s' * (days > 1)}"] if days else []
        words += [f"{minutes // 60}:{minutes % 60:02d} h"] if minutes or not days else []
        return " ".join(words)


def read_partitions() -> list[Partition]:
    """The partitions of the site. One scontrol call.

    Raises:
        SlurmAway, UserError: see `ask`.
    """
    return parse_partitions(ask(["scontrol", "--oneliner", "show", "partition"]))


def parse_partitions(text: str) -> list[Partition]:
    """The partitions in the output of `scontrol --oneliner show partition`."""
    partitions = []
    for line in text.splitlines():
        shown = fields(line)
        if "PartitionName" not in shown:
            continue
        max_nodes = shown.get("MaxNodes", "UNLIMITED")
        gpus = re.search(r"gres/gpu=(\d+)", shown.get("TRES", ""))
        partitions.append(
            Partition(
                name=shown["PartitionName"],
                is_default=shown.get("Default") == "YES",
                state=shown.get("State", "UP"),
                max_minutes=parse_minutes(shown.get("MaxTime", "UNLIMITED")),
                max_nodes=int(max_nodes) if max_nodes.isdigit() else None,
                nodes=_number(shown.get("TotalNodes")),
                gpus=int(gpus[1]) if gpus else 0,
                grace_s=_number(shown.get("GraceTime")),
                preempt_mode=shown.get("PreemptMode", "OFF"),
                accounts=_names(shown.get("AllowAccounts")),
                qos=_names(shown.get("AllowQos")),
            )
        )
    return partitions


def parse_minutes(text: str) -> float | None:
    """Minutes of a time as Slurm prints it, "1-12:00:00"; None for UNLIMITED."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if match is None:
        return None
    days, first, second, third = (int(part) if part else 0 for part in match.groups())
    hours, minutes, seconds = (first, second, third) if match[1] or match[4] else (0, first, second)
    return days * 1440 + hours * 60 + minutes + seconds / 60


def eligible_partitions(partitions: Sequence[Partition], names: str | None) -> list[Partition]:
    """Partitions in which a job with `partition=names` ("a,b") may run; without names, the default one."""
    requested = str(names).split(",") if names else []
    return [part for part in partitions if (part.name in requested if requested else part.is_default)]


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def _names(text: str | None) -> tuple[str, ...]:
    return () if text in (None, "ALL", "(null)") else tuple(text.split(","))
