"""Follow submitted jobs from the login node: their state in the queue, then their logs and progress."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from espnet3.errors import command_path
from espnet3.outcomes.job import job_result, may_come_back
from espnet3.rundir.files.log_tail import LogTail, without_log_only
from espnet3.rundir.heartbeat import read_heartbeat
from espnet3.rundir.layout import heartbeat_path, job_log, jobs_dir, log_path
from espnet3.rundir.records.attempt import Attempt, AttemptResult, attempt_dirs, read_attempt
from espnet3.rundir.records.job import read_job_id, read_job_result
from espnet3.slurm.queue import SlurmJob
from espnet3.stage_table import label
from espnet3.status.snapshot import query_queue
from espnet3.terminal.screen import ProgressBar, Screen

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle

FILES_EVERY_S = 0.2
QUEUE_EVERY_S = (1.0, 5.0)
"""In the first minute, and later: every squeue call loads Slurm's controller."""


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
    batch_log = LogTail(job_log(exp_dir, stage, job_id))
    rank_logs: dict[int, LogTail] = {}
    attempts = JobAttempts(exp_dir, job.name, stage)
    queue = QueuePoller(job_id)
    shown_before: set[str] = set()
    with ProgressBar(screen, label(stage)) as bar:
        while True:
            shown_attempts, last = attempts.read(), attempts.last
            state = queue.poll(at_once=bool(last and last.result and not last.result.restarts))
            shown = queue_state(state)
            if shown != "COMPLETING" and shown not in shown_before and (state is None or state.in_queue):
                # Each reason once, as often as they change: Priority and Resources take turns for days.
                shown_before = {shown} | (shown_before if state and state.state == "PENDING" else set())
                screen.line(f"{label(stage)}: job {job_id} {shown}")
            for attempt in shown_attempts:
                number = attempt.begin.number
                tail = rank_logs.setdefault(number, LogTail(log_path(exp_dir, stage, number, rank)))
                for line in without_log_only(tail.lines()) if number >= since else ():
                    screen.line(line)
            for line in batch_log.lines():
                screen.line(line)
            folder = jobs_dir(exp_dir) / job.name
            own = read_job_result(folder)
            # A job with its result written is over for us, however long its epilog takes.
            is_over = state is None or not state.in_queue or (state.state == "COMPLETING" and own is not None)
            if is_over and (new_id := read_job_id(folder)) not in (None, job_id):
                job_id, queue = str(new_id), QueuePoller(str(new_id))
                for line in batch_log.rest():
                    screen.line(line)
                batch_log = LogTail(job_log(exp_dir, stage, job_id))
                continue
            attempt_result = last.result if last and own is None else None
            if is_over and not may_come_back(attempt_result, state, time.time()):
                break
            if state is not None:
                _show_progress(bar, screen, state, last)
            time.sleep(FILES_EVERY_S)
    for line in [*batch_log.lines(), *batch_log.rest()]:
        screen.line(line)
    result = job_result(
        last,
        state,
        last.states if last else (),
        has_log=batch_log.path.exists(),
        own=read_job_result(jobs_dir(exp_dir) / job.name),
    )
    if result.outcome != "done":
        screen.line(f"{label(stage)}: job {job_id} {result.reason or result.outcome}")
    return result


def queue_state(state: SlurmJob | None) -> str:
    """Slurm's word for a job, and why it waits."""
    if state is None:
        return "unknown to Slurm"
    if state.hold:
        return f"held ({state.hold})"
    return f"PENDING ({state.reason})" if state.state == "PENDING" and state.reason else state.state


class JobAttempts:
    """The attempts of one job; an attempt that has ended, or belongs to another job, is read only once."""

    def __init__(self, exp_dir: Path, job: str, stage: str) -> None:
        self._exp_dir, self._job, self._stage = exp_dir, job, stage
        self._over: set[Path] = set()
        self.last: Attempt | None = None
        """The newest attempt."""

    def read(self) -> list[Attempt]:
        """The attempts that may have printed something since the previous call, in the order they began."""
        attempts = []
        for path in attempt_dirs(self._exp_dir, self._stage):
            attempt = None if path in self._over else read_attempt(path)
            if attempt is None:
                continue
            of_this_job = attempt.begin.job == self._job
            if attempt.result is not None or not of_this_job:
                self._over.add(path)
            if of_this_job:
                attempts.append(attempt)
        attempts.sort(key=lambda attempt: attempt.begin.number)
        self.last = attempts[-1] if attempts else self.last
        return attempts or [attempt for attempt in (self.last,) if attempt]


class QueuePoller:
    """Polls Slurm for one job every few seconds; keeps the last answer while Slurm does not answer."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._last: SlurmJob | None = SlurmJob(job_id, "PENDING")
        self._next_at = 0.0
        self._began = time.monotonic()

    def poll(self, *, at_once: bool = False) -> SlurmJob | None:
        """The job at the last squeue call; None when Slurm no longer knows it."""
        first, later = QUEUE_EVERY_S
        now = time.monotonic()
        if now < self._next_at and not (at_once and now > self._next_at - later + first):
            return self._last
        self._next_at = now + (first if now - self._began < 60 else later)
        queue = query_queue([(self._job_id, "")])
        if not queue.problem:
            self._last = queue.find(self._job_id)
        elif self._last is not None:
            self._last = replace(self._last, reason=f"Slurm is away: {queue.problem}")
        return self._last


def _show_progress(bar: ProgressBar, screen: Screen, state: SlurmJob, attempt: Attempt | None) -> None:
    """Move the progress bar, on a terminal, to rank 0's position, or show what the job waits for."""
    if not screen.is_terminal:
        return
    is_running = attempt is not None and state.state == "RUNNING"
    heartbeat = read_heartbeat(heartbeat_path(attempt.directory, 0)) if attempt and is_running else None
    if heartbeat:
        bar.show(heartbeat)
    else:
        bar.say(f"{state.state.lower()} {state.reason}".strip())


def detached(chain: "Sequence[JobHandle]", exp_dir: Path, screen: Screen) -> int:
    """Print, after Ctrl-C, that the jobs go on, and how to follow them again; returns the exit code."""
    screen.line("detached: the jobs go on")
    print_how_to_follow(chain, exp_dir, screen)
    return DETACHED_BY_CTRL_C


def print_how_to_follow(chain: "Sequence[JobHandle]", exp_dir: Path, screen: Screen) -> None:
    """Print which jobs are queued and how to follow them."""
    jobs = ", ".join(f"{job.job_id} ({job.stage})" for job in chain)
    screen.line(f"queued: {jobs}")
    print_commands(exp_dir, screen)


def print_commands(directory: Path, screen: Screen) -> None:
    """Print how to follow, show and cancel a run or a sweep: a line for each command, to be copied."""
    where = command_path(directory)
    for purpose, verb in (("follow", "logs -f"), ("look", "status"), ("end", "cancel")):
        screen.line(f"{purpose}: `espnet3 {verb} {where}`")
