"""What slurmctld says about its nodes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from .processes import plain_environment
from .settings import Cluster


@dataclass(frozen=True)
class Node:
    """A node as slurmctld sees it: a state such as DOWN+NOT_RESPONDING; when slurmd started (Unix s)."""

    state: str
    reason: str
    started: int

    @property
    def usable(self) -> bool:
        """Whether jobs can run there (a drained node counts: an administrator did that)."""
        flags = set(self.state.split("+"))
        return not flags & {"DOWN", "UNKNOWN", "NOT_RESPONDING", "FAIL", "INVALID_REG"}


def nodes(cluster: Cluster) -> dict[str, Node]:
    """All nodes by name; empty while slurmctld doesn't answer."""
    result = subprocess.run(
        ["scontrol", "--oneliner", "show", "node"],
        env={**plain_environment(cluster), "SLURM_TIME_FORMAT": "%s"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return parse_nodes(result.stdout) if result.returncode == 0 else {}


def parse_nodes(text: str) -> dict[str, Node]:
    """Parse the output of `scontrol --oneliner show node`."""
    parsed = {}
    for line in text.splitlines():
        start, _, reason = line.partition(" Reason=")
        fields = dict(word.split("=", 1) for word in start.split() if "=" in word)
        if "NodeName" in fields:
            started = fields.get("SlurmdStartTime", "")
            parsed[fields["NodeName"]] = Node(
                fields.get("State", "UNKNOWN"), reason.strip(), int(started) if started.isdigit() else 0
            )
    return parsed
