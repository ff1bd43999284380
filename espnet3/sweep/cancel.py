"""`espnet3 cancel` of a sweep: end its queued and running trials."""

import time
from pathlib import Path

from espnet3.errors import UserError, short_path
from espnet3.launcher.cancel import CHECK_EVERY_S, ask_to_stop
from espnet3.launcher.submit.queued import find_queued, unfinished_ids
from espnet3.number_text import counted
from espnet3.rundir import claim
from espnet3.rundir.records.background import process_at_work
from espnet3.rundir.records.job import read_job_id, read_jobs
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.jobs import cancel_jobs
from espnet3.slurm.queue import SlurmJob, own_jobs
from espnet3.sweep.jobs.array import read_array
from espnet3.sweep.show.searcher import find_searcher
from espnet3.sweep.trials.folder import array_dir, array_numbers
from espnet3.sweep.trials.search_record import is_search, search_dir
from espnet3.sweep.trials.waiting import forget_waiting
from espnet3.terminal.screen import Screen

_SEARCH_ENDS_S = 10.0
"""How long to wait after scancel until the searching job has released its claim."""


def cancel_sweep(sweep: Path, screen: Screen, *, wait: bool) -> None:
    """Cancel the arrays of a sweep, and the jobs they wait for; ask a command that runs trials to stop.

    Args:
        sweep: its directory.
        screen: where the result is printed.
        wait: return only when everything has ended.

    Raises:
        UserError: Slurm does not answer, or refuses.
    """
    forget_waiting(sweep)  # first: a trial that ends submits no more of them
    _cancel_search(sweep, screen)
    path, process = short_path(sweep), process_at_work(sweep)
    alive = process is not None and process.is_alive()
    if process is not None and alive:
        # First: a command that is submitting must not continue.
        ask_to_stop(sweep, process, screen)
    try:
        queued = _queued(sweep)
        cancel_jobs(sorted({job.job_id.partition("_")[0] for job in queued}))
        if queued:
            running = sum(job.state == "RUNNING" for job in queued)
            saves = f"; {running} running, which save first if Slurm leaves them the time" if running else ""
            screen.line(f"{path}: cancelled {counted(len(queued), 'job')}{saves}")
        elif not alive:
            screen.line(f"{path}: nothing to cancel")
        while wait and ((process is not None and process.is_alive()) or (queued and _queued(sweep))):
            time.sleep(CHECK_EVERY_S)
    except SlurmAway as error:
        raise UserError(f"Slurm does not answer, so no job was cancelled: {error}") from error


def _cancel_search(sweep: Path, screen: Screen) -> None:
    """End the search first, so that it begins no further trials.

    Raises:
        UserError: Slurm does not answer, or refuses.
    """
    if not is_search(sweep):
        return
    job, owner = find_searcher(sweep), claim.owner(search_dir(sweep))
    if job is not None:
        cancel_jobs([job.job_id])
        screen.line(f"{short_path(sweep)}: cancelled the search, job {job.job_id}")
        deadline = time.monotonic() + _SEARCH_ENDS_S
        while claim.owner(search_dir(sweep)) is not None and time.monotonic() < deadline:
            time.sleep(0.1)
    elif owner is not None and owner.is_alive() and owner != process_at_work(sweep):
        ask_to_stop(sweep, owner, screen)


def _queued(sweep: Path) -> list[SlurmJob]:
    """The sweep's jobs in Slurm's queue; at most one squeue call."""
    shared = [path for path in (sweep / "shared").glob("*") if read_jobs(path)]
    folders = [array_dir(sweep, number) for number in array_numbers(sweep)]
    if not shared and not folders:
        return []
    ids = {read_job_id(folder) for folder in folders}
    runs = [*shared, *(sweep / "trials").glob("*")]
    jobs = own_jobs({job_id.partition("_")[0] for run in runs for job_id in unfinished_ids(run)})
    tokens = {array.token for folder in folders if (array := read_array(folder))}
    array_jobs = [
        job
        for job in jobs
        if job.in_queue
        and job.comment.partition("[")[0] in tokens
        and (job.job_id.partition("_")[0] in ids or None in ids)
    ]
    return [
        *array_jobs,
        *(job.queue_entry for path in shared for job in find_queued(path, jobs) if job.queue_entry),
    ]
