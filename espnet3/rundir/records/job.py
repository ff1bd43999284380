"""A job that was, or is about to be, handed to Slurm, as files in `jobs/<name>/` of the run directory.

`job.json` is written before sbatch is called and holds a token that the job carries in Slurm too;
`submission.json` has Slurm's job id and is written after, or by the job itself when it starts. A command that
dies in between leaves a token by which the job is found. `end.json` says how it ended.
"""

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.files.private import make_private
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.records.attempt import END, AttemptResult

JOB, SUBMISSION, CONFIG, SCRIPT = "job.json", "submission.json", "config.yaml", "job.sh"


@dataclass(frozen=True)
class SubmittedJob:
    """What is known before a job is submitted."""

    name: str
    """Its folder: `train-1`."""
    stages: list[str]
    """What it runs, one after the other."""
    token: str
    """Our own id, which Slurm keeps as the job's comment."""
    chain: str
    """What was submitted together has this in common."""
    position: int
    """Its place in the chain."""
    after: str
    """Name of the job that must be done before it starts; empty if there is none."""
    force: bool
    command: list[str]
    """What the user had typed."""
    max_restarts: int
    submitted_by: dict[str, Any]
    """The process that submits it: see ProcessName."""
    chain_stages: list[str] = field(default_factory=list)
    """The stages of the whole chain: a command may die before it has described all of its jobs."""
    array: str = ""
    """The folder of the array that it is an element of; empty if it is a job by itself."""
    element: int = 0
    """Which of them."""
    runs: int = 1
    """How many runs the element does, one after the other; this is one of them."""
    written_at: float = field(default_factory=time.time)

    @property
    def stage(self) -> str:
        """The first stage it runs, which its folder is named after."""
        return self.stages[0]


@dataclass(frozen=True)
class Submission:
    """What Slurm answered."""

    job_id: str
    at: float = field(default_factory=time.time)


def new_job_name(exp_dir: Path, stage: str) -> str:
    """`<stage>-<n>`, with the first number that is free."""
    taken = [path.name.removeprefix(f"{stage}-") for path in jobs_dir(exp_dir).glob(f"{stage}-*")]
    return f"{stage}-{max((int(name) for name in taken if name.isdigit()), default=0) + 1}"


def write_job(folder: Path, job: SubmittedJob, config: str) -> None:
    """Make the folder of a job (0700) and describe it there; last what makes it one that can be read."""
    make_private(folder)
    write_text(folder / CONFIG, config)
    write_dataclass(folder / JOB, job)


def read_job(folder: Path) -> SubmittedJob | None:
    """The job that is described in `folder`; None where nothing readable is."""
    return read_dataclass(SubmittedJob, folder / JOB)


def read_jobs(exp_dir: Path) -> list[SubmittedJob]:
    """Every job of a run directory, in the order they were submitted."""
    found = (read_job(path) for path in jobs_dir(exp_dir).glob("*") if re.fullmatch(r".+-\d+", path.name))
    return sorted((job for job in found if job), key=lambda job: (job.written_at, job.position))


def write_submission(folder: Path, job_id: str) -> None:
    """Keep Slurm's id of the job in `folder`."""
    write_dataclass(folder / SUBMISSION, Submission(job_id))


def read_job_id(folder: Path) -> str | None:
    """Slurm's id of the job in `folder`; None when it was not noted, nor that of the array it belongs to."""
    submission = read_dataclass(Submission, folder / SUBMISSION)
    if submission is not None:
        return submission.job_id
    job = read_job(folder)
    of_array = read_dataclass(Submission, Path(job.array) / SUBMISSION) if job and job.array else None
    return f"{of_array.job_id}_{job.element}" if job and of_array else None


def duplicate_of(folder: Path, job_id: str) -> str:
    """The id of another Slurm job that `folder` was submitted as; empty if it is `job_id`, which has started.

    That is noted now, if nobody was left to do it. A command that died while it submitted may leave a job
    that comes to light only after the next was sent: of the two, one must not run.
    """
    noted = read_job_id(folder)
    if noted is None:
        write_submission(folder, job_id)
    return "" if noted in (None, job_id) else noted


def write_job_result(folder: Path, result: AttemptResult | None) -> None:
    """Keep how the job in `folder` ended; None: it runs (again)."""
    if result is None:
        (folder / END).unlink(missing_ok=True)
    else:
        write_dataclass(folder / END, result)


def read_job_result(folder: Path) -> AttemptResult | None:
    """How the job in `folder` ended; None: it waits, runs, or was ended from outside."""
    return read_dataclass(AttemptResult, folder / END)
