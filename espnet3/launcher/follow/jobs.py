"""Follow submitted jobs from the login node: their state in the queue, then their logs and progress."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from espnet3.errors import UserError, short_path
from espnet3.outcomes.job import job_result, may_come_back
from espnet3.rundir.files.log_tail import LogTail
from espnet3.rundir.heartbeat import read_heartbeat
from espnet3.rundir.layout import heartbeat_path, job_log, log_path
from espnet3.rundir.records.attempt import Attempt, AttemptResult, attempt_dirs, read_attempt
from espnet3.slurm.accounting import past_jobs
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.queue import SlurmJob, own_jobs
from espnet3.stage_table import label
from espnet3.terminal.screen import ProgressBar, Screen

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle

FILES_EVERY_S = 0.2
QUEUE_EVERY_S = (1.0, 5.0)
"""At first, and later: many people watch many jobs, and each look costs Slurm's controller something."""


DETACHED_BY_CTRL_C = 130
"""The exit code of a command that followed jobs until Ctrl-C; they go on."""


def watch(
    chain: "Sequence[JobHandle]", exp_dir: Path, screen: Screen, *, rank: int = 0, since: int = 0
) -> AttemptResult:
    """Show the jobs of `chain` one after the other until one does not end as done.

    Args:
        chain: jobs that wait for each other, in order.
        exp_dir: their run directory.
        screen: where they are shown.
        rank: whose log is shown.
        since: number of the first job's first attempt that is shown.

    Returns:
        How the last one that was watched ended.

    Raises:
        KeyboardInterrupt: Ctrl-C; nothing happens to the jobs.
    """
    result = AttemptResult("done")
    for job in chain:
        result = _watch_job(job, exp_dir, screen, rank, since if job is chain[0] else 0)
        if result.outcome != "done":
            return result
    return result


def _watch_job(job: "JobHandle", exp_dir: Path, screen: Screen, rank: int, since: int) -> AttemptResult:
    """Show one job until it is over."""
    stage, job_id = job.stage, job.job_id
    driver = LogTail(job_log(exp_dir, stage, job_id))
    ranks: dict[int, LogTail] = {}
    attempts = JobsAttempts(exp_dir, job.name, stage)
    queue = QueueView(job_id)
    shown_before = ""
    with ProgressBar(screen, label(stage)) as bar:
        while True:
            shown_now, last = attempts.look(), attempts.last
            state = queue.look(at_once=bool(last and last.result and not last.result.restarts))
            shown = state.state if state else "unknown to Slurm"
            if shown != shown_before and (state is None or state.in_queue) and shown != "COMPLETING":
                shown_before = shown
                why = f" ({state.reason})" if state and state.reason and state.state == "PENDING" else ""
                screen.line(f"{label(stage)}: job {job_id} {shown}{why}")
            for attempt in shown_now:
                number = attempt.begin.number
                tail = ranks.setdefault(number, LogTail(log_path(exp_dir, stage, number, rank)))
                for line in tail.lines() if number >= since else ():
                    screen.line(line)
            for line in driver.lines():
                screen.line(line)
            is_over = state is None or not state.in_queue
            if is_over and not may_come_back(last.result if last else None, state, time.time()):
                break
            if state is not None:
                _show_progress(bar, screen, state, last)
            time.sleep(FILES_EVERY_S)
    for line in [*driver.lines(), *driver.rest()]:
        screen.line(line)
    result = job_result(last, state, last.states if last else (), has_log=driver.path.exists())
    if result.outcome != "done":
        screen.line(f"{label(stage)}: job {job_id} {result.reason or result.outcome}")
    return result


class JobsAttempts:
    """The attempts of one job; those that have ended, and those of other jobs, are read only once."""

    def __init__(self, exp_dir: Path, job: str, stage: str) -> None:
        self._exp_dir, self._job, self._stage = exp_dir, job, stage
        self._over: set[Path] = set()
        self.last: Attempt | None = None
        """The newest one."""

    def look(self) -> list[Attempt]:
        """Those that may have printed something since the look before, in the order they began."""
        found = []
        for path in attempt_dirs(self._exp_dir, self._stage):
            attempt = None if path in self._over else read_attempt(path)
            if attempt is None:
                continue
            is_own = attempt.begin.job == self._job
            if attempt.result is not None or not is_own:
                self._over.add(path)
            if is_own:
                found.append(attempt)
        found.sort(key=lambda attempt: attempt.begin.number)
        self.last = found[-1] if found else self.last
        return found or [one for one in (self.last,) if one]


class QueueView:
    """What Slurm has of one job, asked for every few seconds; its last answer is kept while it is away."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._last: SlurmJob | None = SlurmJob(job_id, "PENDING")
        self._next_at = 0.0
        self._began = time.monotonic()

    def look(self, *, at_once: bool = False) -> SlurmJob | None:
        """The job as it was at the last look; None when Slurm knows nothing of it any more."""
        first, later = QUEUE_EVERY_S
        now = time.monotonic()
        if now < self._next_at and not (at_once and now > self._next_at - later + first):
            return self._last
        self._next_at = now + (first if now - self._began < 60 else later)
        try:
            jobs = {job.job_id: job for job in own_jobs()}
        except (SlurmAway, UserError) as error:
            if self._last is not None:
                self._last = replace(self._last, reason=f"Slurm is away: {error}")
            return self._last
        self._last = jobs.get(self._job_id) or past_jobs([self._job_id]).get(self._job_id)
        return self._last


def _show_progress(bar: ProgressBar, screen: Screen, state: SlurmJob, attempt: Attempt | None) -> None:
    """Move the bar, where one is seen, to where rank 0 says it is, or say what the job waits for."""
    if not screen.is_terminal:
        return
    is_at_work = attempt is not None and state.state == "RUNNING"
    heartbeat = read_heartbeat(heartbeat_path(attempt.directory, 0)) if attempt and is_at_work else None
    if heartbeat:
        bar.show(heartbeat)
    else:
        bar.say(f"{state.state.lower()} {state.reason}".strip())


def detached(chain: "Sequence[JobHandle]", exp_dir: Path, screen: Screen) -> int:
    """Say, after Ctrl-C, that the jobs go on, and how to come back to them; returns the exit code."""
    screen.line("detached: the jobs go on")
    tell_how_to_follow(chain, exp_dir, screen)
    return DETACHED_BY_CTRL_C


def tell_how_to_follow(chain: "Sequence[JobHandle]", exp_dir: Path, screen: Screen) -> None:
    """Say what is queued and how to come back to it."""
    where = short_path(exp_dir)
    jobs = ", ".join(f"{one.job_id} ({one.stage})" for one in chain)
    screen.line(f"queued: {jobs}")
    screen.line(
        f"follow: espnet3 logs -f {where}    look: espnet3 status {where}    end: espnet3 cancel {where}"
    )
