"""Each start of a submitted job, as `jobs/<name>/start-<id>.<restarts>.json`: how long it held its nodes."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.files.reading import files_in


@dataclass(frozen=True)
class JobStart:
    """One start of a job by Slurm; a job that is queued again has several."""

    slurm_job: str
    """Id and restart count: "123.0"."""
    nodes: int
    gpus_per_node: int
    began_at: float = field(default_factory=time.time)
    """When Slurm started it, in seconds since the epoch, by the clock of its first node."""
    ended_at: float | None = None
    """When its batch process was last about to leave; None: it runs, or was killed."""


def begin_start(folder: Path, start: JobStart) -> None:
    """Write that the job in `folder` runs; a start that goes on after an attempt stays as it is."""
    if not _path(folder, start.slurm_job).exists():
        write_dataclass(_path(folder, start.slurm_job), start, durable=False)


def end_start(folder: Path, slurm_job: str) -> None:
    """Write that the batch process of this start leaves now; nothing if it never began."""
    path = _path(folder, slurm_job)
    start = read_dataclass(JobStart, path)
    if start is not None:
        write_dataclass(path, replace(start, ended_at=time.time()), durable=False)


def read_starts(folder: Path) -> list[JobStart]:
    """All starts of the job in `folder`, in order."""
    found = (read_dataclass(JobStart, path) for path in files_in(folder, "start-*.json"))
    return sorted((start for start in found if start), key=lambda start: start.began_at)


def _path(folder: Path, slurm_job: str) -> Path:
    return folder / f"start-{slurm_job}.json"
