"""Follow trials on Slurm from the login node until all have ended."""

import time
from collections.abc import Sequence
from pathlib import Path

from espnet3.launcher.follow.jobs import QUEUE_EVERY_S
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.records.job import read_job_id, read_jobs
from espnet3.slurm.queue import SlurmJob
from espnet3.status.snapshot import QueueSnapshot, query_queue
from espnet3.sweep.show.results import read_sweep_status
from espnet3.sweep.show.states import UNDER_WAY, TrialState
from espnet3.sweep.show.tracker import Tracker
from espnet3.sweep.trials.folder import trial_dir
from espnet3.terminal.screen import Screen

_POLL_S = 0.2


def watch_trials(
    sweep: Path, names: Sequence[str], tracker: Tracker, screen: Screen, *, until_first_end: bool = False
) -> list[str]:
    """Show the states of trials until all have ended; with `until_first_end`, until at least one has.

    Returns:
        Names of those that have ended.

    Raises:
        KeyboardInterrupt: Ctrl-C; the trials are not affected.
    """
    jobs = {name: _newest_job(sweep, name) for name in names}
    unfinished, started_at, problem = list(names), time.monotonic(), ""
    while unfinished:
        queue = query_queue([jobs[name] for name in unfinished])
        if queue.problem and queue.problem != problem:
            screen.line(f"Slurm is away: {queue.problem}; the trials go on")
        problem = queue.problem
        pending = [name for name in unfinished if _is_pending(queue, jobs[name])]
        for name in pending:
            tracker.update(name, TrialState("queued"))
        others = [name for name in unfinished if name not in set(pending)]
        for row in read_sweep_status(sweep, names=others, queue=queue).rows if others else ():
            tracker.update(row.name, row.state, row.objective)
            if row.state.state not in UNDER_WAY:
                unfinished.remove(row.name)
        if until_first_end and len(unfinished) < len(names):
            break
        first, later = QUEUE_EVERY_S
        pause = first if time.monotonic() - started_at < 60 else later
        until = time.monotonic() + pause
        while unfinished and time.monotonic() < until:
            time.sleep(_POLL_S)
    return [name for name in names if name not in unfinished]


def _newest_job(sweep: Path, name: str) -> tuple[str, str]:
    """Id and token of a trial's newest job."""
    exp_dir = trial_dir(sweep, name)
    jobs = read_jobs(exp_dir)
    return (read_job_id(jobs_dir(exp_dir) / jobs[-1].name) or "", jobs[-1].token) if jobs else ("", "")


def _is_pending(queue: QueueSnapshot, job: tuple[str, str]) -> bool:
    """Whether it has not started, so that its files need not be read."""
    slurm_job: SlurmJob | None = queue.find(*job)
    return slurm_job is not None and slurm_job.state == "PENDING"
