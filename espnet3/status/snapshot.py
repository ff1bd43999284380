"""A snapshot of Slurm's jobs for any number of runs: one squeue call; sacct and scontrol for the rest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from espnet3.errors import UserError
from espnet3.slurm.accounting import past_jobs
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.queue import SlurmJob, find_job, jobs_by_id, own_jobs

_ENDED = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "DEADLINE")
"""States in sacct of jobs that have ended and do not come back."""


@dataclass(frozen=True)
class QueueSnapshot:
    """Slurm's state of the user's jobs."""

    jobs: tuple[SlurmJob, ...] = ()
    """From squeue: jobs in the queue, and jobs that ended recently."""
    past: Mapping[str, SlurmJob] = field(default_factory=dict)
    """From sacct: earlier jobs by id."""
    asked: bool = False
    problem: str = ""
    """Why Slurm does not answer."""

    @property
    def answered(self) -> bool:
        """Whether Slurm answered, so that a job that is not index is not in the queue."""
        return self.asked and not self.problem

    def find(self, job_id: str, token: str = "") -> SlurmJob | None:
        """The job by its id, or by its token if its id is not known."""
        candidates = self._by_id.get(job_id, []) if job_id else self._by_token.get(token, [])
        return find_job(candidates, job_id, token) or self.past.get(job_id)

    @cached_property
    def _by_id(self) -> dict[str, list[SlurmJob]]:
        """An index: a sweep looks up thousands of jobs."""
        index: dict[str, list[SlurmJob]] = {}
        for job in self.jobs:
            index.setdefault(job.job_id, []).append(job)
        return index

    @cached_property
    def _by_token(self) -> dict[str, list[SlurmJob]]:
        index: dict[str, list[SlurmJob]] = {}
        for job in self.jobs:
            index.setdefault(job.comment, []).append(job)
        return index


def query_queue(jobs_to_query: Iterable[tuple[str, str]]) -> QueueSnapshot:
    """Ask Slurm for jobs, given as (id, token); without jobs Slurm is not asked.

    A job that squeue does not list is gone only if sacct has its end, or the controller does not know its id.
    """
    queried = list(jobs_to_query)
    if not queried:
        return QueueSnapshot()
    try:
        jobs = tuple(own_jobs())
    except (SlurmAway, UserError) as error:
        return QueueSnapshot(asked=True, problem=str(error).split(":")[0])
    now = QueueSnapshot(jobs, asked=True)
    unlisted = [job_id for job_id, token in queried if job_id and not now.find(job_id, token)]
    past = past_jobs(unlisted)
    try:
        known = jobs_by_id(i for i in unlisted if i not in past or past[i].state not in _ENDED)
    except (SlurmAway, UserError) as error:
        return QueueSnapshot(jobs, past, asked=True, problem=str(error).split(":")[0])
    # A job that runs according to sacct, but not to the controller, is gone.
    return QueueSnapshot((*jobs, *known), {i: job for i, job in past.items() if not job.in_queue}, asked=True)
