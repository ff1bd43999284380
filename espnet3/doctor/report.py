"""Files of the probe in its folder: written on the nodes, read where the job was submitted."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.rundir.files.json_file import read_dataclass

TOKEN, PROBE, BATCH, LISTENER, PING = "token", "probe.json", "batch.json", "listener.json", "ping.json"
OUTPUT = "batch.log"
"""What the batch process prints."""


@dataclass(frozen=True)
class ProbeRequest:
    """Input of the batch process: `probe.json`."""

    srun: list[str]
    """The command that starts a task on each node."""
    files: dict[str, list[int]] = field(default_factory=dict)
    """Files that nodes need -> size in bytes and modification time in ns, where the job was submitted."""


@dataclass(frozen=True)
class Batch:
    """From the batch process on the first node: `batch.json`."""

    nodes: list[str]
    """Nodes of the allocation."""
    addresses: dict[str, str]
    """Node -> its address from Slurm; nodes without one are left out."""
    python: str = ""
    is_requeued: bool = True
    """Whether Slurm would requeue the job, as it asks: a site may turn that off."""


@dataclass(frozen=True)
class Report:
    """From each node's task: `report-<rank>.json`."""

    rank: int
    node: str
    python: str
    """Version."""
    versions: dict[str, Any] = field(default_factory=dict)
    """Versions of espnet3 and its dependencies."""
    token: str = ""
    """The token as the node read it."""
    other_files: list[str] = field(default_factory=list)
    """Needed files that are missing on the node, or differ."""
    distrust: str = ""
    """Why the node refuses to run files from the folder: owner or permissions."""
    unresolved: list[str] = field(default_factory=list)
    """Nodes whose names do not resolve on this node."""
    unreachable: str = ""
    """Why the first node could not be reached."""
    interface: str = ""
    """The interface that gloo and NCCL will use; empty for loopback, or if there is no way."""
    gpus: int = 0
    """GPUs that Slurm has allocated to this task."""
    torch_gpus: int | None = None
    """GPUs that torch can use; None if none were requested."""


@dataclass(frozen=True)
class Answer:
    """From each node's task to the ping: `answer-<rank>.json`."""

    rank: int
    at: float
    """By the node's clock."""


@dataclass(frozen=True)
class Ping:
    """From the submitting machine, once all reports are there: `ping.json`."""

    at: float


@dataclass(frozen=True)
class Listener:
    """Where the first node's task listens: `listener.json`."""

    node: str
    port: int


def states(paths: Iterable[str]) -> dict[str, list[int]]:
    """Size in bytes and modification time in ns of the files that exist."""
    states_by_path = {}
    for path in paths:
        with suppress(OSError):
            status = Path(path).stat()
            states_by_path[path] = [status.st_size, status.st_mtime_ns]
    return states_by_path


def read_reports(folder: Path) -> dict[int, Report]:
    """Those that exist, by rank."""
    reports = (read_dataclass(Report, path) for path in folder.glob("report-*.json"))
    return {report.rank: report for report in reports if report is not None}


def read_answers(folder: Path) -> dict[int, Answer]:
    """Those that exist, by rank."""
    answers = (read_dataclass(Answer, path) for path in folder.glob("answer-*.json"))
    return {answer.rank: answer for answer in answers if answer is not None}
