"""Names of processes by which it can be checked later, also from another host, whether they are alive."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from espnet3.slurm.own_job import own_slurm_job, running_start


@dataclass(frozen=True)
class ProcessName:
    """A process by host, pid and start time: a pid alone may have been reused."""

    host: str
    pid: int
    started: str
    slurm_job: str = ""
    """Its Slurm job and the number of the job's start: "123.0"; it can't outlive that start."""

    @classmethod
    def of(cls, pid: int) -> "ProcessName":
        """The process `pid` of this host, which belongs to the same Slurm job, if any, as this one."""
        return cls(socket.gethostname(), pid, _start_time(pid) or "gone", own_slurm_job())

    @classmethod
    def own(cls) -> "ProcessName":
        """This process."""
        return cls.of(os.getpid())

    @property
    def is_here(self) -> bool:
        """Whether it belongs to this host."""
        return self.host == socket.gethostname()

    @property
    def can_be_checked(self) -> bool:
        """Whether `is_alive` knows: it is of this host, or of a Slurm job, which can't outlive that job."""
        return self.is_here or bool(self.slurm_job)

    def is_alive(self) -> bool:
        """Whether it runs; one of another host counts as alive unless its Slurm job has ended."""
        if self.is_here:
            return _start_time(self.pid) == self.started
        if not self.slurm_job:
            return True
        own, (job, _, start) = own_slurm_job(), self.slurm_job.partition(".")
        if own.partition(".")[0] == job:
            return own == self.slurm_job  # an earlier start of the same job is over
        running = running_start(job)
        return running is None or running == start

    def __str__(self) -> str:
        job = f" of Slurm job {self.slurm_job.partition('.')[0]}" if self.slurm_job else ""
        return f"process {self.pid} on {self.host}{job}"


def _start_time(pid: int) -> str | None:
    """Boot id of the machine and start of the process in clock ticks; None if it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may contain blanks
    return None if fields[0] in "ZX" else f"{boot[:8]}-{fields[19]}"
