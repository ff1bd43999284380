"""`espnet3 logs`: print the log of a run, a failure first; or follow it until the run is over."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet3.errors import UserError, message_line, printable, short_path
from espnet3.launcher.attempt.run_stages import show_metrics
from espnet3.launcher.follow.jobs import FILES_EVERY_S, QUEUE_EVERY_S, watch
from espnet3.outcomes.attempt import first_failure
from espnet3.outcomes.exit_code import exit_code_of_all
from espnet3.rundir.files.log_tail import LogTail
from espnet3.rundir.files.reading import CantReadError, read_log
from espnet3.rundir.heartbeat import read_heartbeat
from espnet3.rundir.layout import heartbeat_path, job_log, jobs_dir, log_path
from espnet3.rundir.records.attempt import Attempt, read_attempts
from espnet3.stage_table import label
from espnet3.status.run_files import RunFiles, read_run
from espnet3.status.snapshot import QueueSnapshot, query_queue
from espnet3.status.stage_states import jobs_to_query, owner_is_at_work, stage_statuses
from espnet3.status.stage_status import SAVED, UNDER_WAY, StageStatus
from espnet3.terminal.screen import ProgressBar, Screen

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle


def print_logs(exp_dir: Path, stage: str | None, rank: int, number: int | None) -> None:
    """Print the log of one task: by default of the attempt that began last.

    Raises:
        UserError: there is no such attempt or rank.
    """
    try:
        attempts = _attempts(exp_dir, stage, number)
    except CantReadError as error:  # private to who runs it; the logs may not be
        path = _newest_log(exp_dir, stage, rank, number)
        if path is None:
            raise
        print(message_line(f"{error}; this is the newest log"), file=sys.stderr)
        print("\n".join(_shown(path)))
        return
    statuses = [status for status in read_run_status(exp_dir).statuses if stage in (None, status.stage)]
    if not attempts and not statuses:
        what = f" of {label(stage)}" if stage else ""
        raise UserError(f"{short_path(exp_dir)}: nothing{what} has run")
    if attempts:
        shown = attempts[-1]
        current = next((status for status in statuses if status.attempt == shown.begin.number), None)
        is_over = current is None or current.state not in UNDER_WAY
        for line in log_lines(exp_dir, shown, rank, is_over=is_over):
            print(line)
        sys.stdout.flush()
    for status in statuses:
        if status.attempt is None and status.state != "done":
            yet = " yet" * (status.state in UNDER_WAY)
            print(printable(f"{status_line(status)}; it has no log{yet}"), file=sys.stderr)


def follow_logs(exp_dir: Path, stage: str | None, rank: int, screen: Screen) -> int:
    """Show the logs of a run, across restarts and stages, until none of its stages is under way.

    Returns:
        The exit code for how it ended.

    Raises:
        KeyboardInterrupt: Ctrl-C; nothing happens to the run.
    """
    followed, goes_on = "", True
    while goes_on:
        now = read_run_status(exp_dir)
        statuses = [status for status in now.statuses if stage in (None, status.stage)]
        under_way = [status for status in statuses if status.state in UNDER_WAY]
        chain = _chain(now.run, under_way)
        if chain:
            followed = chain[-1].stage
            result = watch(chain, exp_dir, screen, rank=rank, since=under_way[0].attempt or 0)
            goes_on = result.outcome == "done"
        elif under_way and under_way[0].attempt is not None:
            followed = under_way[0].stage
            _follow_attempt(exp_dir, under_way[0], rank, screen)
        else:
            # A command between two stages will begin the next one; that matters unless `stage` is given.
            goes_on = bool(under_way) or (stage is None and owner_is_at_work(now.run, now.queue))
            time.sleep(FILES_EVERY_S if goes_on else 0.0)
    if not followed:
        print_logs(exp_dir, stage, rank, None)
    statuses = [status for status in read_run_status(exp_dir).statuses if stage in (None, status.stage)]
    unfinished = next((status for status in statuses if status.state != "done"), None)
    if unfinished is not None:
        screen.line(status_line(unfinished))
        return exit_code_of_all(["stopped" if unfinished.reason == SAVED else unfinished.state])
    if followed:
        show_metrics(exp_dir, exp_dir, followed, screen)
    return 0


@dataclass(frozen=True)
class RunStatus:
    """The current state of one run."""

    run: RunFiles
    queue: QueueSnapshot
    statuses: list[StageStatus]


def read_run_status(exp_dir: Path) -> RunStatus:
    """Read the run's files, and ask Slurm if they do not decide its state."""
    run = read_run(exp_dir)
    queue = query_queue(jobs_to_query([run]))
    return RunStatus(run, queue, stage_statuses(run, queue, time.time()))


def log_lines(exp_dir: Path, attempt: Attempt, rank: int, *, is_over: bool) -> Iterator[str]:
    """The log of one rank, after the traceback of the first failure, and before the logs of srun and the job.

    Raises:
        UserError: there is no such rank.
    """
    _check_rank(attempt, rank)
    begin, result = attempt.begin, attempt.result
    failure = first_failure(attempt.states)
    if failure is not None and failure.traceback:
        yield f"rank {failure.rank} failed first: {failure.message}"
        yield from failure.traceback.rstrip().splitlines()
        yield ""
    elif is_over and result is not None and result.outcome != "done" and result.reason:
        yield f"{result.outcome}: {result.reason}"
        yield ""
    paths = [log_path(exp_dir, begin.stage, begin.number, rank)]
    if not paths[0].exists():
        paths[0] = attempt.directory / f"early-{rank}.log"
    if is_over and failure is None and (result is None or result.outcome != "done"):
        paths += [
            attempt.directory / "srun.log",
            job_log(exp_dir, begin.stage, begin.slurm_job_id),
        ]
    for path in paths:
        if path is paths[0] or read_log(path):
            yield from _shown(path)


def _shown(path: Path) -> Iterator[str]:
    yield f"==> {short_path(path)} <=="
    yield from read_log(path).splitlines() or ["(nothing)"]


def _newest_log(exp_dir: Path, stage: str | None, rank: int, number: int | None) -> Path | None:
    """The log of `rank` that was written last; None if there is none that can be found."""
    attempt = "*" if number is None else number
    paths = (exp_dir / "logs").glob(f"{stage or '*'}/attempt-{attempt}/rank-{rank}.log")
    return max(paths, key=lambda path: path.stat().st_mtime, default=None)


def status_line(status: StageStatus) -> str:
    """The state in one line: "stage 2 train: job 12 queued (Priority)"."""
    reason = f" ({status.reason})" if status.reason else ""
    job = f"job {status.job_id} " if status.job_id else ""
    name = label(status.stage) if status.stage else short_path(status.run)
    return f"{name}: {job}{status.state}{reason}"


def _attempts(exp_dir: Path, stage: str | None, number: int | None) -> list[Attempt]:
    attempts = read_attempts(exp_dir, stage)
    if number is None:
        return attempts
    # A number without a stage means the stage that ran last.
    stages = {attempt.begin.stage for attempt in attempts[-1:]}
    of_stage = [attempt for attempt in attempts if attempt.begin.stage in stages]
    chosen = [attempt for attempt in of_stage if attempt.begin.number == number]
    if not chosen:
        known = ", ".join(str(attempt.begin.number) for attempt in of_stage) or "none"
        raise UserError(f"--attempt {number}: {short_path(exp_dir)} has no such attempt; there are {known}")
    return chosen


def _check_rank(attempt: Attempt, rank: int) -> None:
    if not 0 <= rank < attempt.begin.world_size:
        last = attempt.begin.world_size - 1
        known = f"ranks 0 to {last}" if last else "rank 0 only"
        raise UserError(f"--rank {rank}: {label(attempt.begin.stage)} had {known}")


def _chain(run: RunFiles, under_way: Sequence[StageStatus]) -> "list[JobHandle]":
    """The jobs that are under way."""
    from espnet3.launcher.submit.job_handle import JobHandle

    described = {stage.job.job.name for stage in run.stages if stage.job}
    return [
        JobHandle(jobs_dir(run.exp_dir) / status.job, status.job_id)
        for status in under_way
        if status.job in described and status.job_id
    ]


def _follow_attempt(exp_dir: Path, status: StageStatus, rank: int, screen: Screen) -> None:
    """Show an attempt that runs without a submitted job, until it is over."""
    attempts = reversed(read_attempts(exp_dir, status.stage))
    attempt = next(attempt for attempt in attempts if attempt.begin.number == status.attempt)
    tail = LogTail(log_path(exp_dir, status.stage, attempt.begin.number, rank))
    heartbeat_file = heartbeat_path(attempt.directory, 0)
    asked_at = time.monotonic()
    with ProgressBar(screen, label(status.stage)) as bar:
        while True:
            is_over = (attempt.directory / "end.json").exists()
            if not is_over and time.monotonic() - asked_at > QUEUE_EVERY_S[1]:
                asked_at = time.monotonic()
                is_over = not attempt.launcher.is_alive()
            for line in tail.lines():
                screen.line(line)
            if is_over:
                break
            if heartbeat := read_heartbeat(heartbeat_file):
                bar.show(heartbeat)
            time.sleep(FILES_EVERY_S)
    for line in tail.rest():
        screen.line(line)
