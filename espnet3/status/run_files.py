"""The files of a run: for each stage the newest job or attempt, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from espnet3.rundir import claim
from espnet3.rundir.files.json_file import from_plain
from espnet3.rundir.files.reading import CantReadError, exists, if_readable
from espnet3.rundir.heartbeat import read_heartbeat
from espnet3.rundir.layout import heartbeat_path, job_log, jobs_dir
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import (
    Attempt,
    AttemptResult,
    attempt_dirs,
    in_order,
    read_attempt,
    read_attempts,
)
from espnet3.rundir.records.job import (
    SubmittedJob,
    by_submission,
    is_being_continued,
    job_folders,
    read_job,
    read_job_id,
    read_job_result,
    read_jobs,
)
from espnet3.rundir.records.outcome import TaskState
from espnet3.rundir.records.record import Record, read_record
from espnet3.stage_table import STAGES


@dataclass(frozen=True)
class JobFiles:
    """The files of a submitted job."""

    job: SubmittedJob
    job_id: str = ""
    """Slurm's id; empty if it was never written."""
    result: AttemptResult | None = None
    """None: it waits, runs, or was ended from outside."""
    has_log: bool = False
    """Whether its batch process has begun."""
    is_being_continued: bool = False
    """Whether it is submitting the job that follows it, whose id is not known yet."""
    submitter_lives: bool | None = False
    """Whether the command that submits it is alive; None: unknown, as it is on another machine."""

    @property
    def comes_later(self) -> bool:
        """Whether its array element, if it runs, still executes earlier runs."""
        return self.job.runs > 1 and not self.has_log


@dataclass(frozen=True)
class StageFiles:
    """The newest files of one stage in a run directory."""

    stage: str
    job: JobFiles | None = None
    """None: it ran without a submitted job, on this machine or in the user's allocation."""
    attempt: Attempt | None = None
    tasks: Sequence[TaskState] = ()
    heartbeat: dict[str, Any] = field(default_factory=dict)
    """Of rank 0."""
    record: Record | None = None
    """Only of stages that fill the run directory itself."""
    launcher_lives: bool | None = False
    """Whether the process that follows the attempt is alive; None: unknown, as it is on another machine."""
    tasks_live: bool = False
    """Whether one of its tasks is alive on this machine."""

    @property
    def began_at(self) -> float:
        """When its job was described or its attempt started, in seconds since the epoch."""
        if self.job is not None:
            return self.job.job.written_at
        return self.attempt.begin.started_at if self.attempt else 0.0


@dataclass(frozen=True)
class RunFiles:
    """The files of a run directory."""

    exp_dir: Path
    stages: Sequence[StageFiles]
    """In the order of the stages, without stages that have no files."""
    chain: Sequence[JobFiles] = ()
    """The last submitted chain, after the jobs that it waits for."""
    owner: ProcessName | None = None
    """The process that claims the directory, alive or not."""
    owner_lives: bool | None = False
    """None: unknown, as it is on another machine."""
    blaming: Sequence[AttemptResult] = ()
    """The results of all attempts for which a node is to blame."""
    unreadable: Sequence[str] = ()
    """Why parts of it can't be read, such as the private folders of another user's run."""


def read_run(exp_dir: Path) -> RunFiles:
    """Read a run from its files and this machine's processes, without asking Slurm.

    Raises:
        UserError: something of it can't be read.
    """
    run = read_what_can_be_read(exp_dir)
    if run.unreadable:
        raise CantReadError(run.unreadable[0])
    return run


def read_what_can_be_read(exp_dir: Path) -> RunFiles:
    """As `read_run`, without what can't be read.

    Raises:
        UserError: nothing can be read, or a newer version has written it.
    """
    problems: list[str] = []
    attempts = in_order(
        if_readable(partial(read_attempt, folder), problems) for folder in attempt_dirs(exp_dir)
    )
    described = by_submission(
        if_readable(partial(read_job, folder), problems) for folder in job_folders(exp_dir)
    )
    read = [if_readable(partial(_read_job, exp_dir, job, attempts), problems) for job in described]
    jobs = [job for job in read if job]
    chain = last_chain(jobs)
    stages = [
        if_readable(partial(_read_stage, exp_dir, stage, jobs, attempts, chain), problems) for stage in STAGES
    ]
    owner = if_readable(partial(claim.owner, exp_dir), problems)
    owner_lives = lives(owner) if owner else False
    return RunFiles(
        exp_dir,
        [stage for stage in stages if stage],
        chain,
        owner,
        owner_lives,
        [attempt.result for attempt in attempts if attempt.result and attempt.result.node],
        list(dict.fromkeys(problems)),
    )


def read_run_of_job(exp_dir: Path, name: str, job_id: str = "") -> RunFiles:
    """As `read_run`, but only of one job and those it waits for, even if there are newer ones.

    Args:
        exp_dir: the run directory.
        name: name of the job's folder.
        job_id: Slurm's id, if known.
    """
    attempts = read_attempts(exp_dir)
    by_name = {job.name: job for job in read_jobs(exp_dir)}
    jobs: list[JobFiles] = []
    while name in by_name:
        files = _read_job(exp_dir, by_name[name], attempts)
        jobs.insert(0, files if jobs or not job_id else replace(files, job_id=job_id))
        name = jobs[0].job.after
    names = {job.job.name for job in jobs}
    of_jobs = [attempt for attempt in attempts if attempt.begin.job in names]
    stages = [_read_stage(exp_dir, stage, jobs, of_jobs, jobs) for stage in STAGES]
    return RunFiles(exp_dir, [stage for stage in stages if stage and stage.job], jobs)


def last_chain(jobs: Sequence[JobFiles]) -> list[JobFiles]:
    """The last chain of `jobs`, which are in order of submission, after the jobs that it waits for."""
    chain = [job for job in jobs if job.job.chain == jobs[-1].job.chain]
    by_name = {job.job.name: job for job in jobs}
    while chain and chain[0].job.after in by_name:
        chain.insert(0, by_name[chain[0].job.after])
    return chain


def lives(process: ProcessName) -> bool | None:
    """Whether a process is alive; None if it is on another machine. Does not ask Slurm."""
    return process.is_alive() if process.is_here else None


def _read_job(exp_dir: Path, job: SubmittedJob, attempts: Sequence[Attempt]) -> JobFiles:
    folder = jobs_dir(exp_dir) / job.name
    ids = [attempt.begin.slurm_job_id for attempt in attempts if attempt.begin.job == job.name]
    job_id = read_job_id(folder) or next(iter(ids), "")
    return JobFiles(
        job,
        job_id,
        read_job_result(folder),
        has_log=bool(job_id) and exists(job_log(exp_dir, job.stage, job_id)),
        is_being_continued=is_being_continued(folder),
        submitter_lives=False if job_id else lives(from_plain(ProcessName, job.submitted_by)),
    )


def _read_stage(
    exp_dir: Path,
    stage: str,
    jobs: Sequence[JobFiles],
    attempts: Sequence[Attempt],
    chain: Sequence[JobFiles],
) -> StageFiles | None:
    of_stage = [attempt for attempt in attempts if attempt.begin.stage == stage]
    names = {attempt.begin.job for attempt in of_stage}
    # Jobs of earlier chains count only if they made an attempt.
    candidates: list[JobFiles | Attempt] = [
        *(job for job in jobs if stage in job.job.stages and (job in chain or job.job.name in names)),
        *([attempt for attempt in of_stage if not attempt.begin.job][-1:]),
    ]
    record = read_record(exp_dir, stage)
    if not candidates:
        return StageFiles(stage, record=record) if record else None  # launcher=debug leaves no more
    newest = max(candidates, key=_began_at)
    job = newest if isinstance(newest, JobFiles) else None
    name = job.job.name if job else ""
    attempt = next((attempt for attempt in reversed(of_stage) if attempt.begin.job == name), None)
    tasks = attempt.states if attempt else []
    return StageFiles(
        stage,
        job,
        attempt,
        tasks,
        (read_heartbeat(heartbeat_path(attempt.directory, 0)) or {}) if attempt else {},
        record,
        launcher_lives=lives(attempt.launcher) if attempt and not attempt.result else False,
        tasks_live=not (attempt and attempt.result)
        and any(lives(from_plain(ProcessName, task.process)) for task in tasks if task.outcome is None),
    )


def _began_at(candidate: JobFiles | Attempt) -> float:
    if isinstance(candidate, JobFiles):
        return candidate.job.written_at
    return candidate.begin.started_at
