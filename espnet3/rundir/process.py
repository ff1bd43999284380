"""Name a process so that it can be told later, also from another host, whether it still lives."""

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from espnet3.rundir.scontrol import fields


@dataclass(frozen=True)
class ProcessName:
    """A process by host, pid and start time: a pid alone may belong to another process by now."""

    host: str
    pid: int
    started: str
    slurm_job: str = ""
    """The Slurm job it belongs to, and which start of it: "123.0"; it can't outlive that."""

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

    def is_alive(self) -> bool:
        """Whether it still runs; one of another host counts as alive unless its Slurm job has ended."""
        if self.is_here:
            return _start_time(self.pid) == self.started
        if not self.slurm_job:
            return True
        own, (job, _, start) = own_slurm_job(), self.slurm_job.partition(".")
        if own.partition(".")[0] == job:
            return own == self.slurm_job  # an earlier start of the same job is over
        running = _running_start(job)
        return running is None or running == start

    def __str__(self) -> str:
        job = f" of Slurm job {self.slurm_job.partition('.')[0]}" if self.slurm_job else ""
        return f"process {self.pid} on {self.host}{job}"


def own_slurm_job() -> str:
    """The Slurm job that this process runs in, and which start of it: "123.0"; empty outside of any.

    An element of an array is named as squeue does: "123_4.0".
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job and "SLURM_ARRAY_TASK_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return f"{job}.{os.environ.get('SLURM_RESTART_COUNT', '0')}" if job else ""


def own_slurm_job_id() -> str:
    """As `own_slurm_job`, without which start it is: "123", "123_4"; empty outside of any."""
    return own_slurm_job().partition(".")[0]


def _running_start(job: str) -> str | None:
    """Which start of a Slurm job runs; "" when none does, None when Slurm does not answer."""
    try:
        done = subprocess.run(
            ["scontrol", "--oneliner", "show", "job", job],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return "" if "Invalid job id" in done.stderr else None
    shown = fields(done.stdout)
    is_running = shown.get("JobState") in ("RUNNING", "COMPLETING", "CONFIGURING", "STOPPED")
    return shown.get("Restarts", "0") if is_running else ""


def _start_time(pid: int) -> str | None:
    """Boot of the machine and start of the process in clock ticks; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold blanks
    return None if fields[0] in "ZX" else f"{boot[:8]}-{fields[19]}"
