"""`espnet3 cancel`: cancel queued and running jobs of runs, and print what was done."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet3.errors import UserError, short_path
from espnet3.launcher.submit.queued import find_queued, unfinished_ids
from espnet3.number_text import counted
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.background import process_at_work
from espnet3.rundir.records.job import read_job_id, read_jobs
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.jobs import cancel_jobs
from espnet3.slurm.queue import own_jobs
from espnet3.terminal.screen import Screen

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle

CHECK_EVERY_S = 2.0
_SUBMITTER_ENDS_S = 2.0
"""How long a command that was only submitting may take to end after SIGTERM."""


def cancel_runs(runs: Sequence[Path], screen: Screen, *, wait: bool) -> None:
    """Cancel the jobs of `runs` in Slurm, and ask commands that run stages on this machine to stop.

    Both save first: Slurm gives a running job KillWait seconds between SIGTERM and SIGKILL.

    Args:
        runs: run directories.
        screen: prints what was done.
        wait: return only when all jobs and commands have ended.

    Raises:
        UserError: Slurm does not answer, or refuses.
    """
    unowned, processes = list(runs), []
    for run in runs:
        # Commands first: one that is submitting jobs must not submit more.
        process = _holder(run)
        if process is not None:
            unowned.remove(run)
            if ask_to_stop(run, process, screen):
                processes.append(process)
    try:
        queued = _queued(runs)
        for run, job in queued:
            if (others := job.submitted.runs - 1) > 0:
                raise UserError(
                    f"{short_path(run)} shares job {job.job_id} with {counted(others, 'other')}, which would"
                    f" end with it: `scancel {job.job_id}` ends all, and `espnet3 resume` runs them again"
                )
        cancel_jobs([job.job_id for _, job in queued])
        for run, job in queued:
            state = job.queue_entry.state.lower() if job.queue_entry else "queued"
            saves = "; it saves first, if Slurm leaves it the time" if state == "running" else ""
            screen.line(f"{short_path(run)}: cancelled job {job.job_id} ({job.stage}, {state}){saves}")
        for run in unowned:
            if run not in dict(queued):
                screen.line(f"{short_path(run)}: nothing to cancel")
        while wait and (any(process.is_alive() for process in processes) or (queued and _queued(runs))):
            time.sleep(CHECK_EVERY_S)
    except SlurmAway as error:
        raise UserError(f"Slurm does not answer, so no job was cancelled: {error}") from error


def _holder(run: Path) -> ProcessName | None:
    """The living process that holds a run directory, unless it belongs to a job of the run."""
    process = process_at_work(run)
    ids = [read_job_id(jobs_dir(run) / job.name) for job in read_jobs(run)]
    if process is None or process.slurm_job.partition(".")[0] in ids or not process.is_alive():
        return None
    return process


def ask_to_stop(run: Path, process: ProcessName, screen: Screen) -> bool:
    """Send SIGTERM to a command; returns whether it was sent. One that is only submitting ends at once."""
    where, job = short_path(run), process.slurm_job.partition(".")[0]
    if not process.is_here:
        how = f"`scancel {job}` ends it" if job else f"cancel it on {process.host}"
        screen.line(f"{where}: is run by {process}; {how}")
        return False
    try:
        os.kill(process.pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError) as error:
        screen.line(f"{where}: {process} could not be asked to stop: {error.strerror}")
        return False
    screen.line(f"{where}: asked {process} to stop; its stage saves and ends")
    deadline = time.monotonic() + _SUBMITTER_ENDS_S
    while process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    return True


def _queued(runs: Sequence[Path]) -> "list[tuple[Path, JobHandle]]":
    """The jobs of `runs` that are in Slurm's queue; at most one squeue call."""
    submitted = [run for run in runs if read_jobs(run)]
    jobs = own_jobs(i for run in submitted for i in unfinished_ids(run)) if submitted else []
    return [(run, job) for run in submitted for job in find_queued(run, jobs)]
