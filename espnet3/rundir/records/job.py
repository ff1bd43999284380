"""A job that was or will be submitted to Slurm, as files in `jobs/<name>/` of the run directory.

`job.json` is written before sbatch is called and has a token, which is also the job's comment in Slurm;
`submission.json` has Slurm's job id and is written after sbatch, or by the job itself when it starts. If the
command dies in between, the job is found by its token. `end.json` has the job's result. Where Slurm refuses
to requeue it, a follow-up job with another id and token runs the same folder.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.files.private import make_private
from espnet3.rundir.files.reading import files_in
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import END, AttemptResult, read_attempts
from espnet3.stage_table import are_stages

JOB, SUBMISSION, CONFIG, SCRIPT = "job.json", "submission.json", "config.yaml", "job.sh"


@dataclass(frozen=True)
class SubmittedJob:
    """The description of a job, written before it is submitted."""

    name: str
    """Its folder: `train-1`."""
    stages: list[str]
    """The stages that it runs, in order."""
    token: str
    """A unique id, which Slurm keeps as the job's comment."""
    chain: str
    """An id that the jobs of a chain, submitted together, share."""
    position: int
    """Its position in the chain."""
    after: str
    """Name of the job that must be done before it starts; empty if there is none."""
    force: bool
    command: list[str]
    """The user's command line."""
    max_restarts: int
    submitted_by: Annotated[dict[str, Any], ProcessName]
    """The process that submits it: see ProcessName."""
    chain_stages: list[str] = field(default_factory=list)
    """The stages of the whole chain: a command may die before it has described all of its jobs."""
    array: str = ""
    """The folder of its job array; empty if it is not an element of one."""
    element: int = 0
    """Its index in the array."""
    runs: int = 1
    """How many runs the element executes, one after the other; this is one of them."""
    written_at: float = field(default_factory=time.time)

    @property
    def stage(self) -> str:
        """The first stage it runs, which its folder is named after."""
        return self.stages[0]


@dataclass(frozen=True)
class Submission:
    """Slurm's answer to a submission."""

    job_id: str
    """Empty while a follow-up job is being submitted: see `renew_token`."""
    at: float = field(default_factory=time.time)


def new_job_name(exp_dir: Path, stage: str) -> str:
    """`<stage>-<n>`, with one more than the highest number in use."""
    taken = [path.name.removeprefix(f"{stage}-") for path in files_in(jobs_dir(exp_dir), f"{stage}-*")]
    return f"{stage}-{max((int(name) for name in taken if name.isdigit()), default=0) + 1}"


def write_job(folder: Path, job: SubmittedJob, config: str) -> None:
    """Make the folder of a job (0700) and describe it there; `job.json` last, which makes it readable."""
    make_private(folder)
    write_text(folder / CONFIG, config)
    write_dataclass(folder / JOB, job)


def read_job(folder: Path) -> SubmittedJob | None:
    """The job described in `folder`; None if its description is missing or damaged."""
    job = read_dataclass(SubmittedJob, folder / JOB)
    is_whole = job is not None and job.name == folder.name and are_stages(job.stages)
    return job if is_whole else None


def read_jobs(exp_dir: Path) -> list[SubmittedJob]:
    """Every job of a run directory, in the order they were submitted."""
    return by_submission(read_job(folder) for folder in job_folders(exp_dir))


def job_folders(exp_dir: Path) -> list[Path]:
    """The folders of the jobs of a run directory."""
    return [path for path in files_in(jobs_dir(exp_dir)) if re.fullmatch(r".+-\d+", path.name)]


def by_submission(found: Iterable[SubmittedJob | None]) -> list[SubmittedJob]:
    """The jobs that could be read, in the order they were submitted."""
    return sorted((job for job in found if job), key=lambda job: (job.written_at, job.position))


def next_time(exp_dir: Path) -> float:
    """The time of a new record: now, or just after the newest record of the run directory.

    Their order decides what is newest, and hosts write them, whose clocks may differ.
    """
    times = [job.written_at for job in read_jobs(exp_dir)]
    times += [attempt.begin.started_at for attempt in read_attempts(exp_dir)]
    return max([time.time(), *(at + 0.001 for at in times)])


def write_submission(folder: Path, job_id: str) -> None:
    """Write Slurm's id of the job in `folder`."""
    write_dataclass(folder / SUBMISSION, Submission(job_id))


def renew_token(folder: Path, token: str) -> None:
    """Write the token of the follow-up job that is about to be submitted for the job in `folder`.

    Until its id is written, it is found by the token, as any job.
    """
    job = read_job(folder)
    assert job is not None, f"{folder} describes no job"
    write_submission(folder, "")
    write_dataclass(folder / JOB, replace(job, token=token))


def is_being_continued(folder: Path) -> bool:
    """Whether a follow-up job is being submitted for the job in `folder`: see `renew_token`."""
    submission = read_dataclass(Submission, folder / SUBMISSION)
    return submission is not None and not submission.job_id


def read_job_id(folder: Path) -> str | None:
    """Slurm's id of the job in `folder`; None if neither it nor the id of its array was written."""
    submission = read_dataclass(Submission, folder / SUBMISSION)
    if submission is not None:
        return submission.job_id or None
    job = read_job(folder)
    of_array = read_dataclass(Submission, Path(job.array) / SUBMISSION) if job and job.array else None
    return f"{of_array.job_id}_{job.element}" if job and of_array else None


def duplicate_of(folder: Path, job_id: str) -> str:
    """The id of another Slurm job that runs `folder`; empty if it is `job_id`, which has started.

    Writes `job_id` if the submitting command died before it did. After such a death Slurm may list the job
    only after `resume` has submitted it again: one of the two must not run.
    """
    known_id = read_job_id(folder)
    if known_id is None:
        write_submission(folder, job_id)
    return "" if known_id in (None, job_id) else known_id


def write_job_result(folder: Path, result: AttemptResult | None) -> None:
    """Write the result of the job in `folder`; None: remove it, as the job runs (again)."""
    if result is None:
        (folder / END).unlink(missing_ok=True)
    else:
        write_dataclass(folder / END, result)


def write_element_result(array: Path, element: int, result: AttemptResult | None) -> None:
    """As `write_job_result`, for all jobs of an array's element whose batch process did not begin."""
    path = _element_end(array, element)
    if result is None:
        path.unlink(missing_ok=True)
    else:
        write_dataclass(path, result)


def read_job_result(folder: Path) -> AttemptResult | None:
    """The result of the job in `folder`; None: it waits, runs, or was ended from outside."""
    result = read_dataclass(AttemptResult, folder / END)
    if result is None and (job := read_job(folder)) is not None and job.array:
        result = read_dataclass(AttemptResult, _element_end(Path(job.array), job.element))
    return result


def _element_end(array: Path, element: int) -> Path:
    return array / f"end-{element}.json"
