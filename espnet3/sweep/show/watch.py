"""Follow trials on Slurm from the login node until all are over."""

import time
from collections.abc import Sequence
from pathlib import Path

from espnet3.launcher.follow.jobs import QUEUE_EVERY_S
from espnet3.rundir.job import read_job_id, read_jobs
from espnet3.rundir.layout import jobs_dir
from espnet3.slurm.queue import SlurmJob
from espnet3.status.snapshot import QueueSnapshot, query_queue
from espnet3.sweep.show.results import read_sweep_status
from espnet3.sweep.show.states import UNDER_WAY, TrialState
from espnet3.sweep.show.tracker import Tracker
from espnet3.sweep.trials.folder import trial_dir
from espnet3.terminal.screen import Screen

_POLL_S = 0.2


def watch_trials(
    sweep: Path, names: Sequence[str], tracker: Tracker, screen: Screen, *, one: bool = False
) -> list[str]:
    """Show the states of trials until none, or with `one` at least one no more, is queued or running.

    Returns:
        Those that are over.

    Raises:
        KeyboardInterrupt: Ctrl-C; nothing happens to the trials.
    """
    jobs = {name: _newest_job(sweep, name) for name in names}
    open_ones, began, problem = list(names), time.monotonic(), ""
    while open_ones:
        queue = query_queue([jobs[name] for name in open_ones])
        if queue.problem and queue.problem != problem:
            screen.line(f"Slurm is away: {queue.problem}; the trials go on")
        problem = queue.problem
        waiting = [name for name in open_ones if _waits(queue, jobs[name])]
        for name in waiting:
            tracker.note(name, TrialState("queued"))
        others = [name for name in open_ones if name not in set(waiting)]
        for row in read_sweep_status(sweep, names=others, queue=queue).rows if others else ():
            tracker.note(row.name, row.state, row.objective)
            if row.state.state not in UNDER_WAY:
                open_ones.remove(row.name)
        if one and len(open_ones) < len(names):
            break
        first, later = QUEUE_EVERY_S
        pause = first if time.monotonic() - began < 60 else later
        until = time.monotonic() + pause
        while open_ones and time.monotonic() < until:
            time.sleep(_POLL_S)
    return [name for name in names if name not in open_ones]


def _newest_job(sweep: Path, name: str) -> tuple[str, str]:
    """Id and token of a trial's newest job."""
    exp_dir = trial_dir(sweep, name)
    jobs = read_jobs(exp_dir)
    return (read_job_id(jobs_dir(exp_dir) / jobs[-1].name) or "", jobs[-1].token) if jobs else ("", "")


def _waits(queue: QueueSnapshot, job: tuple[str, str]) -> bool:
    """Whether it has not begun, so that its files have no news."""
    found: SlurmJob | None = queue.find(*job)
    return found is not None and found.state == "PENDING"
