"""A rank that has not moved for long, as its watcher describes it: `stall-<rank>.json` of the attempt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from espnet3.rundir.files.json_file import from_plain, read_dataclass, write_dataclass
from espnet3.rundir.files.reading import files_in


@dataclass(frozen=True)
class StalledProcess:
    """A process of the rank: the rank itself, or one that it started, such as a worker of a data loader."""

    pid: int
    name: str
    state: str
    """Of /proc: R, S, D, T, Z."""
    kernel: str = ""
    """What the kernel says it waits in: wchan, syscall."""
    stacks: str = ""
    """Python's stacks of all threads; empty where it could not write them, as a stopped process can't."""


@dataclass(frozen=True)
class Stall:
    """How a rank stands still."""

    rank: int
    node: str
    phase: str
    """See `rundir.watch.activity`."""
    epoch: int
    batch: int
    still_s: float
    """For how long nothing has moved, without the time in which its watcher did not run either."""
    limit_s: float
    """How long it may stand still in this phase."""
    processes: list[Annotated[dict[str, Any], StalledProcess]]
    """The rank's own, then those that it has started."""
    is_automatic: bool = False
    """Whether nobody has given that limit."""
    started: int | None = None
    """How many collectives it has started; None: not known."""
    completed: int | None = None

    @property
    def own(self) -> StalledProcess:
        """The rank's own process."""
        return from_plain(StalledProcess, self.processes[0])

    @property
    def workers(self) -> list[StalledProcess]:
        """The processes that it has started."""
        return [from_plain(StalledProcess, process) for process in self.processes[1:]]


def stall_path(attempt: Path, rank: int) -> Path:
    """The file of `rank` in the directory of its attempt."""
    return attempt / f"stall-{rank}.json"


def write_stall(attempt: Path, stall: Stall) -> None:
    """Replace the description of a rank."""
    write_dataclass(stall_path(attempt, stall.rank), stall, durable=False)


def read_stalls(attempt: Path) -> list[Stall]:
    """The ranks that stand still, by rank."""
    found = (read_dataclass(Stall, path) for path in files_in(attempt, "stall-*.json"))
    return sorted((stall for stall in found if stall), key=lambda stall: stall.rank)
