"""Submits trials as job arrays: none is submitted twice or lost if this process is killed."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from espnet3.errors import cannot_write
from espnet3.launcher.submit.request import JobRequest
from espnet3.launcher.submit.submission import (
    NoRoom,
    SubmissionRefused,
    new_token,
    room_problem,
    submit,
    try_out,
)
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.job import read_job_id, write_submission
from espnet3.slurm.command import SubmitLimit
from espnet3.slurm.queue import SlurmJob
from espnet3.slurm.site.limits import Limits, read_limits
from espnet3.sweep.jobs.array import SubmittedArray, chunks, read_array, write_array
from espnet3.sweep.jobs.plan import Batch
from espnet3.sweep.trials.folder import array_dir, array_numbers
from espnet3.sweep.trials.trial import Base


@dataclass(frozen=True)
class ArrayRequest:
    """An array to submit."""

    batch: Batch
    elements: list[list[str]]
    """Names of the trials of each element."""
    at_once: int | None = None
    """Maximum number of elements that run at the same time; None: no limit."""

    @property
    def indices(self) -> str:
        """The value of sbatch's --array: "0-99%8"."""
        return f"0-{len(self.elements) - 1}" + (f"%{self.at_once}" if self.at_once else "")

    @property
    def trials(self) -> list[str]:
        """Names of all trials."""
        return [name for names in self.elements for name in names]

    def split(self, count: int) -> "tuple[ArrayRequest, ArrayRequest]":
        """Split off the first `count` elements."""
        return replace(self, elements=self.elements[:count]), replace(self, elements=self.elements[count:])


def array_requests(
    batch: Batch, names: Sequence[str], limits: Limits, *, max_parallel: int | None, trials_per_job: int
) -> list[ArrayRequest]:
    """The trials of a batch as arrays within the site's limits.

    `max_parallel` is divided between several arrays.
    """
    arrays = chunks(chunks(names, trials_per_job), limits.array_size)
    shares = [None] * len(arrays) if max_parallel is None else split_evenly(max_parallel, len(arrays))
    return [ArrayRequest(batch, elements, share) for elements, share in zip(arrays, shares, strict=True)]


def arrays_of(batch: Batch, bases: Mapping[str, Base]) -> list[ArrayRequest]:
    """The trials of a batch as arrays, by the settings of the sweep and the site's limits."""
    settings = bases[batch.trials[0].config]["sweep"]
    return array_requests(
        batch,
        [trial.name for trial in batch.trials],
        read_limits(),
        max_parallel=settings["max_parallel"],
        trials_per_job=settings["trials_per_job"],
    )


def split_evenly(total: int, parts: int) -> list[int]:
    """`total` divided into whole numbers of at least 1."""
    return [max(1, total // parts + (number < total % parts)) for number in range(parts)]


def job_request(
    part: ArrayRequest, folder: Path, *, name: str, token: str, after: Sequence[str] = ()
) -> JobRequest:
    """The sbatch request of an array whose files are in `folder`."""
    return JobRequest(
        part.batch.resources,
        folder,
        name=name,
        token=token,
        output=folder / "logs" / "%a.log",
        stage=part.batch.main.stage,
        after=after,
        array=part.indices,
        module="espnet3.sweep.execute.element",
    )


def array_name(base: Base) -> str:
    """The job name of the array: "vocoder.default.sweep"."""
    return f"{Path(base['recipe_dir']).name}.{base['tag']}.sweep".replace(" ", "_")


def check_parts(sweep: Path, parts: Sequence[ArrayRequest], name: str) -> None:
    """Check the script of each array, also with sbatch --test-only; no file is kept.

    Raises:
        UserError: Slurm refuses one, with its own message.
        SlurmAway: Slurm does not answer.
    """
    folder = array_dir(sweep, 1)
    # One element each: an array beyond the user's limits is submitted in portions.
    requests = [job_request(part.split(1)[0], folder, name=name, token=new_token()) for part in parts]
    with suppress(NoRoom):  # there will be
        try_out(requests)


def array_problem(sweep: Path, part: ArrayRequest, name: str) -> SubmitLimit | None:
    """The limit on jobs in the queue for which Slurm would refuse an array now; None if there is room."""
    return room_problem(job_request(part, array_dir(sweep, 1), name=name, token=new_token()))


def submit_part(
    sweep: Path,
    part: ArrayRequest,
    *,
    name: str,
    after: Sequence[str],
    force: bool,
    command: list[str],
) -> str:
    """Submit one array; the caller has locked the sweep and written the records of its trials.

    Side effects: creates the folder of the array, and a job folder in the run directory of each trial.

    Returns:
        The array's id.

    Raises:
        UserError: Slurm refuses.
        SlurmAway: it does not answer.
    """
    numbers = array_numbers(sweep)
    folder = array_dir(sweep, numbers[-1] + 1 if numbers else 1)
    resources = part.batch.main.resources
    array = SubmittedArray(
        token=new_token(),
        elements=part.elements,
        stages=part.batch.stages,
        force=force,
        command=command,
        max_restarts=resources.max_restarts,
        submitted_by=asdict(ProcessName.own()),
    )
    try:
        write_array(sweep, folder, array)
    except OSError as error:
        raise cannot_write(error, folder) from error
    try:
        return submit(job_request(part, folder, name=name, token=array.token, after=after)).job_id
    except SubmissionRefused:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def adopt(sweep: Path, jobs: Sequence[SlurmJob]) -> None:
    """Write the ids of arrays that are in Slurm, but whose submitting command was killed before it did."""
    by_token = {job.comment.partition("[")[0]: job.job_id.partition("_")[0] for job in jobs if job.comment}
    for number in array_numbers(sweep):
        folder = array_dir(sweep, number)
        if read_job_id(folder) is not None:
            continue
        array = read_array(folder)
        if array is not None and array.token in by_token:
            with suppress(OSError):
                write_submission(folder, by_token[array.token])
