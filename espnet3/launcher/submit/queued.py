"""The jobs of a run directory that are in Slurm's queue, as handles."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from espnet3.errors import UserError, command_path, short_path
from espnet3.outcomes.job import may_restart
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.records.job import read_job_id, read_job_result, read_jobs, write_submission
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.queue import SlurmJob, find_job, own_jobs

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle


def find_queued(exp_dir: Path, jobs: Sequence[SlurmJob] | None = None) -> "list[JobHandle]":
    """The jobs of a run directory that are in Slurm's queue, including those whose id was never noted.

    Not one that has written its result, and whose node Slurm cleans up.

    Args:
        exp_dir: the run directory.
        jobs: the result of `own_jobs` for its `unfinished_ids`, if the caller has it.

    Raises:
        SlurmAway, UserError: Slurm can't be asked.
    """
    known = read_jobs(exp_dir)
    if not known:
        return []
    unfinished = unfinished_ids(exp_dir)
    in_slurm = [job for job in (own_jobs(unfinished) if jobs is None else jobs) if job.in_queue]
    from espnet3.launcher.submit.job_handle import JobHandle

    handles = []
    for job in known:
        folder = jobs_dir(exp_dir) / job.name
        if job.runs > 1 and read_job_result(folder) is not None:
            continue  # the array element in the queue runs its other trials
        job_id = read_job_id(folder) or ""
        slurm = find_job(in_slurm, job_id, job.token)
        if slurm is not None and not (slurm.state == "COMPLETING" and job_id and job_id not in unfinished):
            if not job_id:
                with suppress(OSError):
                    write_submission(folder, slurm.job_id)
            handles.append(JobHandle(folder, slurm.job_id, queue_entry=slurm))
    return handles


def unfinished_ids(exp_dir: Path) -> list[str]:
    """Slurm's ids of the jobs of a run directory that have not written how they ended, or may restart."""
    folders = [jobs_dir(exp_dir) / job.name for job in read_jobs(exp_dir)]
    return [
        job_id
        for folder in folders
        if (job_id := read_job_id(folder))
        and ((result := read_job_result(folder)) is None or may_restart(result))
    ]


def refuse_if_queued(exp_dir: Path) -> None:
    """Refuse a run directory that has jobs in the queue.

    Raises:
        UserError: naming the job and what can be done.
    """
    try:
        queued = find_queued(exp_dir)
    except SlurmAway as error:
        raise UserError(
            f"Slurm does not say whether jobs are queued for {short_path(exp_dir)}: {error}"
        ) from error
    if queued:
        first, where, word = queued[0], short_path(exp_dir), command_path(exp_dir)
        state = first.queue_entry.state if first.queue_entry else "queued"
        raise UserError(
            f"{where} is in use by Slurm job {first.job_id} ({first.stage}, {state}): follow it with"
            f" `espnet3 logs -f {word}`, end it with `espnet3 cancel {word}`, or give tag=NAME"
        )
