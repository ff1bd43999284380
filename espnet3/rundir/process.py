"""Name a process so that it can be told later, from any process of its host, whether it still lives."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessName:
    """A process by host, pid and start time: a pid alone may belong to another process by now."""

    host: str
    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "ProcessName":
        """The process `pid` of this host."""
        return cls(socket.gethostname(), pid, _start_time(pid) or "gone")

    @classmethod
    def own(cls) -> "ProcessName":
        """This process."""
        return cls.of(os.getpid())

    def is_alive(self) -> bool:
        """Whether it still runs; one of another host can't be seen from here and counts as alive."""
        if self.host != socket.gethostname():
            return True
        return _start_time(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _start_time(pid: int) -> str | None:
    """Boot of the machine and start of the process in clock ticks; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold blanks
    return None if fields[0] in "ZX" else f"{boot[:8]}-{fields[19]}"
