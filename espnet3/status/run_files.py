"""A run as its directory shows it: for each stage the newest job or attempt, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from espnet3.rundir import claim
from espnet3.rundir.files.json_file import from_plain
from espnet3.rundir.heartbeat import read_heartbeat
from espnet3.rundir.layout import heartbeat_path, job_log, jobs_dir
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import Attempt, AttemptResult, read_attempts
from espnet3.rundir.records.job import SubmittedJob, read_job_id, read_job_result, read_jobs
from espnet3.rundir.records.outcome import TaskState
from espnet3.rundir.records.record import Record, read_record
from espnet3.stage_table import STAGES


@dataclass(frozen=True)
class JobFiles:
    """A submitted job as its folder shows it."""

    job: SubmittedJob
    job_id: str = ""
    """Slurm's; empty where nobody noted it."""
    result: AttemptResult | None = None
    """What it wrote when it ended; None: it waits, runs, or was ended from outside."""
    has_log: bool = False
    """Whether its batch process has begun."""
    submitter_lives: bool | None = False
    """Whether the command that submits it is still there; None: it can't be asked from here."""

    @property
    def comes_later(self) -> bool:
        """Whether its element, when it runs, is still at others."""
        return self.job.runs > 1 and not self.has_log


@dataclass(frozen=True)
class StageFiles:
    """The newest of what a run directory holds of one stage."""

    stage: str
    job: JobFiles | None = None
    """None: it ran here, or in an allocation of the user's."""
    attempt: Attempt | None = None
    tasks: Sequence[TaskState] = ()
    heartbeat: dict[str, Any] = field(default_factory=dict)
    """Rank 0's."""
    record: Record | None = None
    """Of the stages that fill the run directory itself."""
    launcher_lives: bool | None = False
    """Whether the process that watches the attempt is there; None: it can't be asked from here."""
    tasks_live: bool = False
    """Whether one of its tasks is, on this machine."""

    @property
    def began_at(self) -> float:
        """When it was started or written down, in seconds since the epoch."""
        if self.job is not None:
            return self.job.job.written_at
        return self.attempt.begin.started_at if self.attempt else 0.0


@dataclass(frozen=True)
class RunFiles:
    """A run directory."""

    exp_dir: Path
    stages: Sequence[StageFiles]
    """In the order of the stages; those of which there is nothing are left out."""
    chain: Sequence[JobFiles] = ()
    """What was submitted together last, and what that waits for."""
    owner: ProcessName | None = None
    """Who claims it, alive or not."""
    owner_lives: bool | None = False
    """None: it can't be asked from here."""


def read_run(exp_dir: Path) -> RunFiles:
    """Everything that is told of a run, from its files and this machine's processes alone."""
    attempts = read_attempts(exp_dir)
    jobs = [_read_job(exp_dir, job, attempts) for job in read_jobs(exp_dir)]
    chain = last_chain(jobs)
    stages = [_read_stage(exp_dir, stage, jobs, attempts, chain) for stage in STAGES]
    owner = claim.owner(exp_dir)
    owner_lives = lives(owner) if owner else False
    return RunFiles(exp_dir, [one for one in stages if one], chain, owner, owner_lives)


def read_run_of_job(exp_dir: Path, name: str, job_id: str = "") -> RunFiles:
    """As `read_run`, of one job and those it waits for alone, be there newer ones.

    Args:
        exp_dir: the run directory.
        name: of the job's folder.
        job_id: Slurm's, if it is known.
    """
    attempts = read_attempts(exp_dir)
    by_name = {job.name: job for job in read_jobs(exp_dir)}
    jobs: list[JobFiles] = []
    while name in by_name:
        files = _read_job(exp_dir, by_name[name], attempts)
        jobs.insert(0, files if jobs or not job_id else replace(files, job_id=job_id))
        name = jobs[0].job.after
    names = {one.job.name for one in jobs}
    own = [one for one in attempts if one.begin.job in names]
    stages = [_read_stage(exp_dir, stage, jobs, own, jobs) for stage in STAGES]
    return RunFiles(exp_dir, [one for one in stages if one and one.job], jobs)


def last_chain(jobs: Sequence[JobFiles]) -> list[JobFiles]:
    """Of all jobs of a run, in the order they were submitted: the last chain, behind those it waits for."""
    chain = [one for one in jobs if one.job.chain == jobs[-1].job.chain]
    by_name = {one.job.name: one for one in jobs}
    while chain and chain[0].job.after in by_name:
        chain.insert(0, by_name[chain[0].job.after])
    return chain


def lives(process: ProcessName) -> bool | None:
    """Whether a process is there; None when it is on another machine. Asks nobody but this one."""
    return process.is_alive() if process.is_here else None


def _read_job(exp_dir: Path, job: SubmittedJob, attempts: Sequence[Attempt]) -> JobFiles:
    folder = jobs_dir(exp_dir) / job.name
    ids = [one.begin.slurm_job_id for one in attempts if one.begin.job == job.name]
    job_id = read_job_id(folder) or next(iter(ids), "")
    return JobFiles(
        job,
        job_id,
        read_job_result(folder),
        has_log=bool(job_id) and job_log(exp_dir, job.stage, job_id).exists(),
        submitter_lives=False if job_id else lives(from_plain(ProcessName, job.submitted_by)),
    )


def _read_stage(
    exp_dir: Path,
    stage: str,
    jobs: Sequence[JobFiles],
    attempts: Sequence[Attempt],
    chain: Sequence[JobFiles],
) -> StageFiles | None:
    own = [one for one in attempts if one.begin.stage == stage]
    names = {one.begin.job for one in own}
    # What an earlier chain never came to is no news: only what began, or belongs to the last chain.
    candidates: list[JobFiles | Attempt] = [
        *(one for one in jobs if stage in one.job.stages and (one in chain or one.job.name in names)),
        *([one for one in own if not one.begin.job][-1:]),
    ]
    record = read_record(exp_dir, stage)
    if not candidates:
        return StageFiles(stage, record=record) if record else None  # launcher=debug leaves no more
    newest = max(candidates, key=_began_at)
    job = newest if isinstance(newest, JobFiles) else None
    name = job.job.name if job else ""
    attempt = next((one for one in reversed(own) if one.begin.job == name), None)
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
