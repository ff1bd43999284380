"""One look at Slurm for any number of runs: one squeue, and at most one sacct."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from espnet3.errors import UserError
from espnet3.slurm.accounting import past_jobs
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.queue import SlurmJob, find_job, own_jobs


@dataclass(frozen=True)
class QueueSnapshot:
    """What Slurm said of the user's jobs."""

    jobs: tuple[SlurmJob, ...] = ()
    """Those in the queue, and those that ended a short while ago."""
    past: Mapping[str, SlurmJob] = field(default_factory=dict)
    """How others ended, by id, as far as Slurm's accounting says."""
    asked: bool = False
    problem: str = ""
    """Why Slurm does not answer."""

    @property
    def answered(self) -> bool:
        """Whether a job that is not found is really not there."""
        return self.asked and not self.problem

    def find(self, job_id: str, token: str = "") -> SlurmJob | None:
        """The job by its id, or by the token that it carries, where nobody has noted the id."""
        likely = self._by_id.get(job_id, []) if job_id else self._by_token.get(token, [])
        return find_job(likely, job_id, token) or self.past.get(job_id)

    @cached_property
    def _by_id(self) -> dict[str, list[SlurmJob]]:
        """A sweep has thousands of jobs, each of which is asked for."""
        found: dict[str, list[SlurmJob]] = {}
        for job in self.jobs:
            found.setdefault(job.job_id, []).append(job)
        return found

    @cached_property
    def _by_token(self) -> dict[str, list[SlurmJob]]:
        found: dict[str, list[SlurmJob]] = {}
        for job in self.jobs:
            found.setdefault(job.comment, []).append(job)
        return found


def query_queue(jobs_to_query: Iterable[tuple[str, str]]) -> QueueSnapshot:
    """Ask Slurm for jobs, each known by its id or token; not at all when none is needed."""
    wanted = list(jobs_to_query)
    if not wanted:
        return QueueSnapshot()
    try:
        jobs = tuple(own_jobs())
    except (SlurmAway, UserError) as error:
        return QueueSnapshot(asked=True, problem=str(error).split(":")[0])
    now = QueueSnapshot(jobs, asked=True)
    past = past_jobs(job_id for job_id, token in wanted if job_id and not now.find(job_id, token))
    # What sacct thinks to run and squeue does not know is gone.
    return QueueSnapshot(jobs, {i: job for i, job in past.items() if not job.in_queue}, asked=True)
