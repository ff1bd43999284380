"""submitit's handle of a job in Slurm; any process can make one from the job's folder.

Importing it imports submitit (0.1 s), so others import it where they call it.
"""

import time
from contextlib import nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from submitit import SlurmJob
from submitit.core.utils import FailedJobError, JobPaths
from submitit.slurm.slurm import SlurmInfoWatcher

from espnet3.config.saved import read_config
from espnet3.errors import UserError, short_path
from espnet3.outcomes.attempt import first_failure
from espnet3.rundir.layout import job_log, jobs_dir, log_path, stage_home
from espnet3.rundir.records.attempt import read_attempts
from espnet3.rundir.records.background import background_log
from espnet3.rundir.records.job import CONFIG, SCRIPT, SubmittedJob, read_job, read_job_id
from espnet3.rundir.records.record import read_record
from espnet3.slurm.jobs import cancel_jobs
from espnet3.slurm.queue import SlurmJob as QueueEntry
from espnet3.stage_table import label
from espnet3.status.run_files import read_run, read_run_of_job
from espnet3.status.snapshot import QueueSnapshot, query_queue
from espnet3.status.stage_states import stage_statuses
from espnet3.status.stage_status import UNDER_WAY, StageStatus

AT_FIRST_S = 60.0
QUEUE_EVERY_S = (1.0, 5.0)
"""How old an answer of Slurm may be while its jobs are new, and later: every call loads its controller."""


class JobFailed(FailedJobError):
    """A job that did not end as done; the message ends with the traceback of the rank that failed first."""

    def __init__(
        self, status: StageStatus, *, rank: int | None = None, traceback: str = "", log: Path | None = None
    ) -> None:
        self.stage: str = status.stage
        self.job_id: str = status.job_id
        self.state: str = status.state
        """How it ended, as `espnet3 status` says: failed, killed, stopped, cancelled, blocked."""
        self.reason: str = status.reason
        """Why, in one line."""
        self.rank = rank
        """The rank that failed first, if one did."""
        self.traceback = traceback
        """The traceback of that rank."""
        self.log = log
        """The log of that rank, else of the batch process."""
        job = f", job {status.job_id}," if status.job_id else ""
        first = f"{label(status.stage)}{job} {status.state}{f': {status.reason}' if status.reason else ''}"
        lines = [first, traceback.rstrip(), f"log: {log}" if log else ""]
        super().__init__("\n".join(line for line in lines if line))


class QueueWatcher(SlurmInfoWatcher):
    """submitit's watcher of all jobs of a process; it calls squeue, and sacct for jobs that have left it."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens: dict[str, str] = {}
        self._snapshot = QueueSnapshot()
        self._asked_at = self._newest_at = float("-inf")

    def register_job(self, job_id: str) -> None:
        """Ask for this job, too, from now on (as in submitit)."""
        self._tokens.setdefault(job_id, "")
        self._newest_at = time.monotonic()

    def set_token(self, job_id: str, token: str) -> None:
        """Set the comment of a job: job ids are reused after Slurm was installed again."""
        self._tokens[job_id] = token

    def snapshot(self, mode: str = "standard") -> QueueSnapshot:
        """Slurm's state of all jobs; asks Slurm unless the last answer is recent.

        Args:
            mode: "force" asks in any case, "cache" never.
        """
        now = time.monotonic()
        pause = QUEUE_EVERY_S[0 if now - self._newest_at < AT_FIRST_S else 1]
        is_due = self._asked_at <= self._newest_at or now - self._asked_at >= pause
        if mode == "force" or (mode == "standard" and is_due):
            self.update()
        return self._snapshot

    def update(self) -> None:
        """Ask Slurm; if it does not answer, the previous answer is dropped."""
        self._snapshot = query_queue(self._tokens.items())
        self._asked_at = time.monotonic()

    def clear(self) -> None:
        """Drop the last answer of Slurm."""
        self._snapshot, self._asked_at = QueueSnapshot(), float("-inf")

    def get_info(self, job_id: str, mode: str = "standard") -> dict[str, str]:
        """JobID, State and NodeList as sacct has them; empty if Slurm does not know the job."""
        if job_id not in self._tokens:
            self.register_job(job_id)
        entry = self.snapshot(mode).find(job_id, self._tokens[job_id])
        return {"JobID": job_id, "State": entry.state, "NodeList": entry.nodes} if entry else {}

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Slurm's word: PENDING, RUNNING, COMPLETED, …; UNKNOWN where it has none."""
        return self.get_info(job_id, mode).get("State") or "UNKNOWN"


class RunJobPaths(JobPaths):
    """The paths of a job's files in a run directory."""

    def __init__(self, folder: Path, job_id: str, submitted: SubmittedJob) -> None:
        super().__init__(folder, job_id=job_id)
        self._submitted = submitted

    @property
    def exp_dir(self) -> Path:
        """The run directory."""
        return self.folder.parent.parent

    @property
    def submission_file(self) -> Path:
        """The batch script; that of the array where the job is an element of one."""
        return (Path(self._submitted.array) if self._submitted.array else self.folder) / SCRIPT

    @property
    def stdout(self) -> Path:
        """The log of the batch process; those of ranks are `attempt-<n>/rank-<r>.log` beside it."""
        return job_log(self.exp_dir, self._submitted.stage, self.job_id or "")

    @property
    def stderr(self) -> Path:
        """The same file."""
        return self.stdout


class JobHandle(SlurmJob[dict[str, Any]]):
    """A job of a run directory that was submitted to Slurm: one of a stage, or a trial's element of an array.

    As in submitit: `job_id`, `state`, `done()`, `wait()`, `cancel()`, `result()`, `exception()`, `stdout()`,
    `stderr()`, `paths`, `get_info()`, `awaitable()`.

    Args:
        folder: `jobs/<name>` of the run directory.
        job_id: Slurm's: "123", or "123_4".
        queue_entry: the job in Slurm's queue, if the caller has just read it.
    """

    watcher = QueueWatcher()

    def __init__(self, folder: Path | str, job_id: str, *, queue_entry: QueueEntry | None = None) -> None:
        self.folder = Path(folder).absolute()
        self.queue_entry = queue_entry
        super().__init__(self.folder, job_id)

    @classmethod
    def load(cls, folder: Path | str) -> "JobHandle":
        """The handle of the job in `folder`, whoever submitted it.

        Raises:
            UserError: no job is described there, or its id was never noted.
        """
        folder = Path(folder)
        if read_job(folder) is None:
            raise UserError(f"{folder} describes no job")
        job_id = read_job_id(folder)
        if job_id is None:
            raise UserError(f"{folder}: the job was not submitted, or its id was not noted")
        return cls(folder, job_id)

    @cached_property
    def submitted(self) -> SubmittedJob:
        """What was known of the job before it was submitted: its stages, the chain it belongs to, …

        Raises:
            UserError: nothing readable is in its folder.
        """
        job = read_job(self.folder)
        if job is None:
            raise UserError(f"{self.folder} describes no job")
        return job

    @property
    def current_id(self) -> str:
        """Slurm's id of the job that runs the folder now: `job_id`, or that of a follow-up job."""
        return read_job_id(self.folder) or self.job_id

    @property
    def name(self) -> str:
        """Of its folder: train-1."""
        return self.folder.name

    @property
    def stage(self) -> str:
        """The first stage it runs."""
        return self.submitted.stage

    @property
    def exp_dir(self) -> Path:
        """The run directory."""
        return self.folder.parent.parent

    @property
    def paths(self) -> RunJobPaths:
        """Where its files are: folder, stdout, stderr, submission_file."""
        return RunJobPaths(self.folder, self.job_id, self.submitted)

    @property
    def state(self) -> str:
        """Slurm's word: PENDING, RUNNING, COMPLETED, FAILED, …; UNKNOWN where it has none."""
        return self.watcher.get_state(self._watch())

    def statuses(self, *, mode: str = "standard") -> list[StageStatus]:
        """The status of each stage of the job, as `espnet3 status` shows it.

        Args:
            mode: see `QueueWatcher.snapshot`.
        """
        run = read_run_of_job(self.exp_dir, self.name, self._watch())
        rows = stage_statuses(run, self.watcher.snapshot(mode), time.time())
        return [row for row in rows if row.job == self.name]

    def done(self, force_check: bool = False) -> bool:
        """Whether the job is over and will not start again by itself; `force_check` asks Slurm anyway."""
        mode = "force" if force_check else "standard"
        return not any(row.state in UNDER_WAY for row in self.statuses(mode=mode))

    def cancel(self, check: bool = True) -> None:
        """Cancel the job, which saves first if Slurm leaves it the time; one that is over stays as it is.

        Args:
            check: raise where that fails.

        Raises:
            UserError: Slurm does not answer, or refuses, or the job runs other trials, too.
        """
        with nullcontext() if check else suppress(UserError):
            if (others := self.submitted.runs - 1) > 0:
                raise UserError(f"job {self.job_id} runs {others} other trials, too, which would end with it")
            cancel_jobs([self.current_id])

    def result(self) -> dict[str, Any]:
        """Wait for the job; the metrics of its last stage, as rank 0 recorded them.

        Raises:
            JobFailed: it did not end as done.
        """
        error = self.exception()
        if error is not None:
            raise error
        stage, config = self.submitted.stages[-1], read_config(self.folder / CONFIG)
        record = read_record(stage_home(config, stage), stage)
        return dict(record.metrics) if record else {}

    def results(self) -> list[dict[str, Any]]:
        """`result`, as the only one: ranks have none of their own."""
        return [self.result()]

    def exception(self) -> JobFailed | None:
        """Wait for the job; why it did not end as done, or None."""
        self.wait()
        failed = next((row for row in self.statuses(mode="cache") if row.state != "done"), None)
        return failure_of(failed) if failed else None

    def _watch(self) -> str:
        """Tell the watcher the job's token, which a follow-up job has replaced; returns its id."""
        job, job_id = read_job(self.folder), self.current_id
        self.watcher.set_token(job_id, (job or self.submitted).token)
        return job_id

    def __repr__(self) -> str:
        return f"JobHandle<job_id={self.job_id}, folder={short_path(self.folder)}>"


def load_jobs(exp_dir: Path | str) -> list[JobHandle]:
    """The jobs of a run directory that were submitted together last, in order, with those they wait for."""
    chain = read_run(Path(exp_dir)).chain
    return [JobHandle(jobs_dir(Path(exp_dir)) / job.job.name, job.job_id) for job in chain if job.job_id]


def failure_of(status: StageStatus) -> JobFailed:
    """Why a stage did not end as done, with the traceback of the rank that failed first."""
    exp_dir, stage = status.run, status.stage
    attempts = [attempt for attempt in read_attempts(exp_dir, stage) if attempt.begin.job == status.job]
    failure = first_failure(attempts[-1].states) if attempts else None
    if failure is not None:
        log = log_path(exp_dir, stage, attempts[-1].begin.number, failure.rank)
        return JobFailed(status, rank=failure.rank, traceback=failure.traceback, log=log)
    job = read_job(jobs_dir(exp_dir) / status.job) if status.job else None
    log = job_log(exp_dir, job.stage, status.job_id) if job else background_log(exp_dir)
    return JobFailed(status, log=log if log.exists() else None)
