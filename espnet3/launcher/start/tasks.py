"""The interface of an attempt's running tasks, and what all ways to start them share."""

import os
import random
import socket
from pathlib import Path
from typing import Protocol

from espnet3.resources import Resources

PORTS = range(10000, 32000)
"""Below the ports that the kernel hands out by itself (/proc/sys/net/ipv4/ip_local_port_range)."""


class RunningTasks(Protocol):
    """The running tasks of one attempt, as `follow` uses them."""

    directory: Path
    """The attempt's directory."""
    log: Path
    """The log of rank 0."""
    world_size: int

    def is_running(self) -> bool:
        """Whether a task is alive."""

    def ask_to_stop(self) -> None:
        """Ask every task to save and end."""

    def lost_ranks(self) -> dict[int, str]:
        """Ranks that are known to have been killed, by what ("SIGKILL"); their state files don't show it."""

    def end_now(self) -> set[int]:
        """End every task that is alive, at once; the ranks that are known to have been ended by this."""

    def kill(self) -> None:
        """End all tasks and the process that started them, and wait until they are gone."""

    def early_output(self, rank: int) -> list[str]:
        """The last lines that a rank printed before it opened its own log."""

    def start_error(self) -> str:
        """Why no attempt can start the tasks; empty if that is not known."""


def task_environment(resources: Resources) -> dict[str, str]:
    """Environment variables of every task: its threads.

    Waiting threads sleep: on a shared machine, spinning threads take the cores from working ones
    (two trainings of two threads on two cores: a quarter of the speed each).
    """
    wait_policy = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    return {"OMP_NUM_THREADS": str(resources.cpus_per_task), "OMP_WAIT_POLICY": wait_policy}


def free_port(seed: str) -> int:
    """A free TCP port of this machine; `seed` decides where the search starts, so that jobs don't collide."""
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
    return [
        line for path in paths for line in path.read_text("utf-8", errors="replace").splitlines()[-count:]
    ]
