"""A job array of trials, as files in `arrays/<n>/` of the sweep.

`array.json` is written before sbatch is called: the token that every element carries as its comment, and the
trials of each element. `submission.json` has Slurm's id; it is written after sbatch, or by the first element
that starts. Each trial's run directory has a job record that names the array and the element.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.files.private import make_private
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.job import JOB, SubmittedJob, new_job_name, read_jobs
from espnet3.slurm.queue import element_token
from espnet3.sweep.trials.folder import trial_dir

ARRAY = "array.json"
Item = TypeVar("Item")


@dataclass(frozen=True)
class SubmittedArray:
    """The content of `array.json`."""

    token: str
    """Our own id, the Slurm comment of every element."""
    elements: list[list[str]]
    """Names of the trials that each element runs in order."""
    stages: list[str]
    """Stages that each trial runs."""
    force: bool
    command: list[str]
    """The user's command line."""
    max_restarts: int
    submitted_by: Annotated[dict[str, Any], ProcessName]
    """The process that submits it: see ProcessName."""
    written_at: float = field(default_factory=time.time)

    @property
    def trials(self) -> list[str]:
        """Names of all trials."""
        return [name for names in self.elements for name in names]


def write_array(sweep: Path, folder: Path, array: SubmittedArray) -> None:
    """Write the array's record to its folder (mode 0700), and a job record for each of its trials."""
    make_private(folder)
    (folder / "logs").mkdir()
    write_dataclass(folder / ARRAY, array)
    for element, names in enumerate(array.elements):
        for name in names:
            _write_element_job(trial_dir(sweep, name), folder, array, element)


def read_array(folder: Path) -> SubmittedArray | None:
    """The array in `folder`; None if there is no readable record."""
    return read_dataclass(SubmittedArray, folder / ARRAY)


def own_job(sweep: Path, name: str, array: SubmittedArray, element: int) -> SubmittedJob | None:
    """The job of a trial in this element; None if a later job runs the trial."""
    jobs = read_jobs(trial_dir(sweep, name))
    newest = jobs[-1] if jobs else None
    is_own = newest is not None and (newest.chain, newest.element) == (array.token, element)
    return newest if is_own else None


def chunks(items: Sequence[Item], size: int) -> list[list[Item]]:
    """`items` in order, in lists of at most `size`."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def _write_element_job(exp_dir: Path, folder: Path, array: SubmittedArray, element: int) -> None:
    earlier = read_jobs(exp_dir)
    job = SubmittedJob(
        name=new_job_name(exp_dir, array.stages[0]),
        stages=array.stages,
        token=element_token(array.token, element),
        chain=array.token,
        position=0,
        after="",
        force=array.force,
        command=array.command,
        max_restarts=array.max_restarts,
        submitted_by=array.submitted_by,
        array=str(folder),
        element=element,
        runs=len(array.elements[element]),
        # after them whatever clock they have
        written_at=max([array.written_at, *(job.written_at + 0.001 for job in earlier)]),
    )
    job_folder = jobs_dir(exp_dir) / job.name
    make_private(job_folder)
    write_dataclass(job_folder / JOB, job, durable=False)  # array.json holds the same
