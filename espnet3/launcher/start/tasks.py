"""The tasks of one attempt, started and watched by this process, whichever way they were started."""

import os
import random
import socket
from pathlib import Path
from typing import Protocol

from espnet3.resources import Resources

PORTS = range(10000, 32000)
"""Below the ports that the kernel hands out by itself (/proc/sys/net/ipv4/ip_local_port_range)."""


class RunningTasks(Protocol):
    """What `follow` needs to know of an attempt's tasks."""

    directory: Path
    """The attempt's."""
    log: Path
    """What rank 0 prints."""
    world_size: int

    def is_running(self) -> bool:
        """Whether a task still lives."""

    def ask_to_stop(self) -> None:
        """Ask every task to save and end."""

    def lost_ranks(self) -> set[int]:
        """Those known to have been killed, where their states on other machines can't tell."""

    def end_now(self) -> set[int]:
        """End every task that still lives, at once; the ranks that are known to be ended by this."""

    def kill(self) -> None:
        """End everything, whatever state it is in, and wait until it is gone."""

    def early_output(self, rank: int) -> list[str]:
        """The last lines that a rank printed before it opened its own log."""


def task_environment(resources: Resources) -> dict[str, str]:
    """Variables for every task: its threads.

    Threads sleep while they wait: on a machine that is shared, spinning ones take the cores from those that
    work (two trainings of two threads on two cores: a quarter of the speed each).
    """
    waiting = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    return {"OMP_NUM_THREADS": str(resources.cpus_per_task), "OMP_WAIT_POLICY": waiting}


def free_port(seed: str) -> int:
    """A port that nobody listens on here; jobs that start together look elsewhere by their `seed`."""
    first = random.Random(seed).randrange(len(PORTS))
    for offset in range(len(PORTS)):
        port = PORTS[(first + offset) % len(PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port between {PORTS.start} and {PORTS.stop}")


def last_lines(paths: list[Path], count: int = 20) -> list[str]:
    """The last lines of some files."""
    return [line for path in paths for line in path.read_text(errors="replace").splitlines()[-count:]]
