"""What the files of a run say about its time: jobs, their starts, and attempts, as plain data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from espnet3.rundir.files.reading import exists, if_readable
from espnet3.rundir.heartbeat import read_heartbeat
from espnet3.rundir.layout import hang_report, heartbeat_path, jobs_dir
from espnet3.rundir.records.attempt import Attempt, attempt_dirs, read_attempt
from espnet3.rundir.records.job import SubmittedJob, by_submission, job_folders, read_job
from espnet3.rundir.records.start import JobStart, read_starts
from espnet3.slurm.accounting import StartTimes
from espnet3.stage_table import STAGES
from espnet3.status.stage_status import AT_WORK, UNDER_WAY, StageStatus

Present = Literal["over", "queued", "running"]


@dataclass(frozen=True)
class AttemptFacts:
    """One attempt; times in seconds since the epoch, by the clock of whoever started it."""

    stage: str
    number: int
    began_at: float
    ended_at: float | None = None
    outcome: str = ""
    """done, failed, stopped or killed; empty: it runs, or whoever followed it was killed, too."""
    job: str = ""
    """Name of the submitted job; empty without one."""
    start: str = ""
    """The start of that job: "123.0"."""
    nodes: int = 1
    gpus_per_node: int = 0
    trains: bool = True
    beat: Mapping[str, Any] = field(default_factory=dict)
    """The last heartbeat of rank 0."""
    rank_ended_at: float | None = None
    """When the first rank said that it ended; None where that says nothing more, as of one that is done."""
    hung: bool = False
    """Whether it was ended because it did not move: `hang.txt` beside its logs."""


@dataclass(frozen=True)
class JobFacts:
    """A submitted job and its starts, in order."""

    name: str
    submitted_at: float
    after: str = ""
    """Name of the job that it waits for."""
    starts: Sequence[JobStart] = ()
    present: Present = "over"
    shares: bool = False
    """Whether its Slurm job runs others, too, one after the other: Slurm's times are not its own."""


@dataclass(frozen=True)
class RunFacts:
    """A run: its jobs in the order of submission, and its attempts in the order they began."""

    jobs: Sequence[JobFacts] = ()
    attempts: Sequence[AttemptFacts] = ()
    runs: bool = False
    """Whether the last attempt without a job still runs."""


def read_facts(exp_dir: Path) -> RunFacts:
    """Read them; what can't be read is left out. What runs is not in files: see `at_present`."""
    problems: list[str] = []
    read = [if_readable(partial(_attempt, exp_dir, folder), problems) for folder in attempt_dirs(exp_dir)]
    described = [if_readable(partial(read_job, folder), problems) for folder in job_folders(exp_dir)]
    jobs = [if_readable(partial(_job, exp_dir, job), problems) for job in by_submission(described)]
    attempts = sorted((one for one in read if one), key=lambda one: (one.began_at, one.number))
    return RunFacts([job for job in jobs if job], attempts)


def at_present(run: RunFacts, stages: Iterable[StageStatus]) -> RunFacts:
    """`run` with what its jobs are now, by the statuses of its stages, which jobs share."""
    under_way = [one for one in stages if one.state in UNDER_WAY]
    running = {one.job for one in under_way if one.state in AT_WORK and one.slurm_state != "PENDING"}
    waiting = {one.job for one in under_way}
    jobs = [replace(job, present=_present(job.name, running, waiting)) for job in run.jobs]
    return replace(run, jobs=jobs, runs="" in running)


def _present(job: str, running: set[str], waiting: set[str]) -> Present:
    return "running" if job in running else "queued" if job in waiting else "over"


def with_accounting(run: RunFacts, known: Mapping[str, StartTimes]) -> RunFacts:
    """`run` with the times of starts that Slurm's accounting has: one clock, and also of what was killed."""
    return replace(run, jobs=[job if job.shares else _accounted(job, known) for job in run.jobs])


def _accounted(job: JobFacts, known: Mapping[str, StartTimes]) -> JobFacts:
    ids = {start.slurm_job.rpartition(".")[0] for start in job.starts}
    ours = {name: times for name, times in known.items() if name.rpartition(".")[0] in ids}
    written = {start.slurm_job: start for start in job.starts}
    if not ours:
        return job
    like = job.starts[-1]
    starts = [
        replace(
            written.get(name, replace(like, ended_at=None)),
            slurm_job=name,
            began_at=times.began_at,
            ended_at=times.ended_at,
        )
        for name, times in ours.items()
        if times.began_at is not None
    ]
    starts += [start for name, start in written.items() if name not in ours]
    submitted = min((times.submitted_at for times in ours.values()), default=job.submitted_at)
    return replace(job, submitted_at=submitted, starts=sorted(starts, key=lambda start: start.began_at))


def slurm_ids(runs: Iterable[RunFacts]) -> list[str]:
    """The ids of all jobs that have started."""
    jobs = [job for run in runs for job in run.jobs if not job.shares]
    return list(dict.fromkeys(start.slurm_job.rpartition(".")[0] for job in jobs for start in job.starts))


def _job(exp_dir: Path, job: SubmittedJob) -> JobFacts:
    starts = read_starts(jobs_dir(exp_dir) / job.name)
    return JobFacts(job.name, job.written_at, job.after, starts, shares=job.runs > 1)


def _attempt(exp_dir: Path, directory: Path) -> AttemptFacts | None:
    attempt = read_attempt(directory)
    return _facts(exp_dir, attempt) if attempt else None


def _facts(exp_dir: Path, attempt: Attempt) -> AttemptFacts:
    begin, result = attempt.begin, attempt.result
    trains = STAGES[begin.stage].trains
    broke_off = trains and (result is None or result.outcome in ("killed", "failed"))
    states = attempt.states if broke_off else []  # a file of each rank
    ends = [state.ended_at for state in states if state.ended_at is not None]
    return AttemptFacts(
        stage=begin.stage,
        number=begin.number,
        began_at=begin.started_at,
        ended_at=result.ended_at if result else None,
        outcome=result.outcome if result else "",
        job=begin.job,
        start=attempt.launcher.slurm_job if begin.job else "",
        nodes=max(1, len(begin.nodes)),
        gpus_per_node=begin.gpus_per_node,
        trains=trains,
        beat=(read_heartbeat(heartbeat_path(attempt.directory, 0)) or {}) if trains else {},
        rank_ended_at=min(ends, default=None),
        hung=trains and exists(hang_report(exp_dir, begin.stage, begin.number)),
    )
