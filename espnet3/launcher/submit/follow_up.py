"""A follow-up job: runs the folder of a job that Slurm does not requeue; same script, new id."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from espnet3.errors import UserError
from espnet3.launcher.submit.submission import new_token
from espnet3.rundir.records.job import renew_token, write_submission
from espnet3.slurm.jobs import wait_for_another
from espnet3.slurm.queue import element_token
from espnet3.slurm.restarting.job_change import NO_CHANGE, JobChange


def submit_follow_up(
    folders: Sequence[Path],
    job_id: str,
    change: JobChange = NO_CHANGE,
    *,
    script: Path,
    element: int | None = None,
) -> str:
    """Submit a job that continues `job_id`, the one that this process is in; returns the new id.

    It starts when `job_id` has ended, and jobs that wait for `job_id` wait for it. The folders hold the new
    token before the submission, and the new id after it.

    Args:
        folders: of the job; of an array element those of its unfinished runs.
        job_id: Slurm's.
        change: what it asks for otherwise than `script` does.
        script: as it was submitted.
        element: the index in the array, if the job is an element of one.

    Raises:
        SlurmAway, UserError: Slurm does not answer, or refuses.
    """
    token = new_token()
    for folder in folders:
        renew_token(folder, token if element is None else element_token(token, element))
    array = "" if element is None else str(element)
    new_id = submit_script_again(script, token, job_id, array, change.sbatch)
    if element is not None:
        new_id = f"{new_id}_{element}"
    for folder in folders:
        write_submission(folder, new_id)
    with suppress(UserError):  # they are cancelled then, and `espnet3 resume` submits them again
        wait_for_another(job_id, new_id)
    return new_id


def submit_script_again(
    script: Path, token: str, after: str, array: str = "", options: Sequence[str] = ()
) -> str:
    """Submit `script` once more, with `token` as the comment, to start when `after` has ended; the new id.

    `options` of sbatch override those in the script.

    Raises:
        SlurmAway, UserError: Slurm does not answer, or refuses.
    """
    from espnet3.launcher.submit.executor import BatchExecutor

    executor = BatchExecutor(script.parent, [], {"comment": token})
    return executor.submit_again(script, after=after, array=array, options=options)
