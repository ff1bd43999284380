"""The searcher of a sweep: a job or a process, as `search/` of the sweep and Slurm show it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet3.errors import UserError, command_path
from espnet3.rundir import claim
from espnet3.rundir.files.json_file import read_dataclass
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.job import read_job_id
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.queue import SlurmJob, find_job, own_jobs
from espnet3.sweep.trials.search_record import read_search, search_dir

SEARCHER, LOG = "searcher.json", "searcher.log"


@dataclass(frozen=True)
class Searcher:
    """The contents of `searcher.json`, written before the job is submitted."""

    token: str
    """Our own id, which the job has as its comment in Slurm."""
    retry_failed: bool
    """Whether the job's first start runs failed trials again."""
    written_at: float = field(default_factory=time.time)


def read_searcher(folder: Path) -> Searcher | None:
    """Read `searcher.json` in `folder`; None if the search was never submitted as a job."""
    return read_dataclass(Searcher, folder / SEARCHER)


def find_searcher(sweep: Path, jobs: Sequence[SlurmJob] | None = None) -> SlurmJob | None:
    """The searching job, if it is in Slurm's queue.

    Args:
        sweep: its directory.
        jobs: the result of `own_jobs`, if it was called already.

    Raises:
        SlurmAway, UserError: Slurm can't be asked.
    """
    searcher = read_searcher(search_dir(sweep))
    if searcher is None:
        return None
    job_id = read_job_id(search_dir(sweep)) or ""
    queued = [job for job in (own_jobs(filter(None, [job_id])) if jobs is None else jobs) if job.in_queue]
    return find_job(queued, job_id, searcher.token)


def describe_searcher(sweep: Path) -> str:
    """The process or job that runs the search, as text; empty if there is none.

    Raises:
        SlurmAway, UserError: Slurm can't be asked; it is asked only if the search was submitted as a job.
    """
    owner = claim.owner(search_dir(sweep))
    if owner is not None and owner.is_alive():
        return str(owner)
    job = find_searcher(sweep)
    return f"job {job.job_id}, {job.state}{f' ({job.reason})' if job.reason else ''}" if job else ""


def search_line(sweep: Path) -> str:
    """The progress of a search and who runs it, in one line; empty if the sweep is not a search.

    Slurm is asked only if the search was submitted as a job.
    """
    record = read_search(sweep)
    if record is None:
        return ""
    owner = claim.owner(search_dir(sweep))
    if owner is not None and owner == ProcessName.own():
        return str(record)
    try:
        searcher = describe_searcher(sweep)
    except (SlurmAway, UserError) as error:
        return f"{record}; Slurm does not say whether it is running: {error}"
    if searcher:
        return f"{record}; under way, by {searcher}"
    if len(record.trials) >= record.n_trials:
        return str(record)
    return f"{record}; not running: `espnet3 resume {command_path(sweep)}` continues it"
