"""What the probe job tells, as files in its folder: written on the nodes, read where it was submitted."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.rundir.files.json_file import read_dataclass

TOKEN, PROBE, BATCH, MEETING, PING = "token", "probe.json", "batch.json", "meeting.json", "ping.json"
OUTPUT = "batch.log"
"""What the batch process prints."""


@dataclass(frozen=True)
class ProbeRequest:
    """What the batch process is to do: `probe.json`."""

    srun: list[str]
    """The command that starts a task on each node."""
    files: dict[str, list[int]] = field(default_factory=dict)
    """Files that nodes need -> size in bytes and time of change in ns, where the job was submitted."""


@dataclass(frozen=True)
class Batch:
    """From the batch process on the first node: `batch.json`."""

    nodes: list[str]
    """The allocation's."""
    addresses: dict[str, str]
    """Node -> its address as Slurm has it; those that could not be found are left out."""
    python: str = ""


@dataclass(frozen=True)
class Report:
    """From each node's task: `report-<rank>.json`."""

    rank: int
    node: str
    python: str
    """Version."""
    versions: dict[str, Any] = field(default_factory=dict)
    """Of espnet3 and what it stands on."""
    token: str = ""
    """What the node read where the token was written."""
    other_files: list[str] = field(default_factory=list)
    """Of those that nodes need: not there, or others."""
    distrust: str = ""
    """Why the node would not run what lies in the folder."""
    unresolved: list[str] = field(default_factory=list)
    """Nodes whose names mean nothing to Python here."""
    unreachable: str = ""
    """Why the first node could not be reached."""
    gpus: int = 0
    """That Slurm gives to this job here."""
    torch_gpus: int | None = None
    """That torch can use; None where none were asked for."""


@dataclass(frozen=True)
class Answer:
    """From each node's task to the ping: `answer-<rank>.json`."""

    rank: int
    at: float
    """By the node's clock."""


@dataclass(frozen=True)
class Ping:
    """From where the job was submitted, once every report is in: `ping.json`."""

    at: float


@dataclass(frozen=True)
class Meeting:
    """Where the first node's task listens: `meeting.json`."""

    node: str
    port: int


def states(paths: Iterable[str]) -> dict[str, list[int]]:
    """Size in bytes and time of change in ns of those files that are there."""
    found = {}
    for path in paths:
        with suppress(OSError):
            status = Path(path).stat()
            found[path] = [status.st_size, status.st_mtime_ns]
    return found


def read_reports(folder: Path) -> dict[int, Report]:
    """Those that are there, by rank."""
    found = (read_dataclass(Report, path) for path in folder.glob("report-*.json"))
    return {report.rank: report for report in found if report is not None}


def read_answers(folder: Path) -> dict[int, Answer]:
    """Those that are there, by rank."""
    found = (read_dataclass(Answer, path) for path in folder.glob("answer-*.json"))
    return {answer.rank: answer for answer in found if answer is not None}
