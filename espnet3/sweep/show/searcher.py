"""The job that searches, as `search/` of the sweep and Slurm show it, and whether anybody searches at all."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet3.errors import UserError, short_path
from espnet3.rundir import claim
from espnet3.rundir.job import read_job_id
from espnet3.rundir.json_file import read_dataclass
from espnet3.rundir.process import ProcessName
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.queue import SlurmJob, find_job, own_jobs
from espnet3.sweep.trials.search_record import read_search, search_dir

SEARCHER, LOG = "searcher.json", "searcher.log"


@dataclass(frozen=True)
class Searcher:
    """What is known before the job is submitted."""

    token: str
    """Our own id, which Slurm keeps as its comment."""
    again: bool
    """Whether trials that have failed before are run once more, when it starts for the first time."""
    written_at: float = field(default_factory=time.time)


def read_searcher(folder: Path) -> Searcher | None:
    """The job that is described in `folder`; None: the search has never been one."""
    return read_dataclass(Searcher, folder / SEARCHER)


def find_searcher(sweep: Path, jobs: Sequence[SlurmJob] | None = None) -> SlurmJob | None:
    """The job that searches, if it is in Slurm's queue.

    Args:
        sweep: its directory.
        jobs: what `own_jobs` gives, if it was asked already.

    Raises:
        SlurmAway, UserError: Slurm can't be asked.
    """
    searcher = read_searcher(search_dir(sweep))
    if searcher is None:
        return None
    found = [job for job in (own_jobs() if jobs is None else jobs) if job.in_queue]
    return find_job(found, read_job_id(search_dir(sweep)) or "", searcher.token)


def at_work(sweep: Path) -> str:
    """Who searches, or is about to: a process or a job, in words; empty if nobody does.

    Raises:
        SlurmAway, UserError: Slurm can't be asked; it is where the search was made a job that may still run.
    """
    owner = claim.owner(search_dir(sweep))
    if owner is not None and owner.is_alive():
        return str(owner)
    job = find_searcher(sweep)
    return f"job {job.job_id}, {job.state}{f' ({job.reason})' if job.reason else ''}" if job else ""


def search_line(sweep: Path) -> str:
    """How far a search is, and who is at it, in one line; empty for a sweep that is none.

    Slurm is asked only where the search was made a job.
    """
    record = read_search(sweep)
    if record is None:
        return ""
    owner = claim.owner(search_dir(sweep))
    if owner is not None and owner == ProcessName.own():
        return str(record)
    try:
        who = at_work(sweep)
    except (SlurmAway, UserError) as error:
        return f"{record}; Slurm does not say whether it goes on: {error}"
    if who:
        return f"{record}; under way, by {who}"
    if len(record.trials) >= record.n_trials:
        return str(record)
    return f"{record}; nobody searches: `espnet3 resume {short_path(sweep)}` goes on"
