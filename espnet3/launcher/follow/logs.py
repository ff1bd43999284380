"""`espnet3 logs`: what a run printed, a failure first; or what it prints, until it is over."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet3.errors import UserError, short_path
from espnet3.launcher.attempt.run_stages import show_metrics
from espnet3.launcher.follow.jobs import FILES_EVERY_S, QUEUE_EVERY_S, watch
from espnet3.outcomes.attempt import first_failure
from espnet3.outcomes.exit_code import exit_code_of_all
from espnet3.rundir.files.log_tail import LogTail
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
    attempts = _attempts(exp_dir, stage, number)
    statuses = [one for one in read_run_status(exp_dir).statuses if stage in (None, one.stage)]
    if not attempts and not statuses:
        what = f" of {label(stage)}" if stage else ""
        raise UserError(f"{short_path(exp_dir)}: nothing{what} has run")
    if attempts:
        shown = attempts[-1]
        state = next((one for one in statuses if one.attempt == shown.begin.number), None)
        for line in log_lines(exp_dir, shown, rank, is_over=state is None or state.state not in UNDER_WAY):
            print(line)
        sys.stdout.flush()
    for one in statuses:
        if one.attempt is None and one.state != "done":
            print(f"{described(one)}; it has no log{' yet' * (one.state in UNDER_WAY)}", file=sys.stderr)


def follow_logs(exp_dir: Path, stage: str | None, rank: int, screen: Screen) -> int:
    """Show what a run prints, over restarts and stages, until nothing of it is under way.

    Returns:
        The exit code that says how it ended.

    Raises:
        KeyboardInterrupt: Ctrl-C; nothing happens to the run.
    """
    followed, goes_on = "", True
    while goes_on:
        now = read_run_status(exp_dir)
        statuses = [one for one in now.statuses if stage in (None, one.stage)]
        under_way = [one for one in statuses if one.state in UNDER_WAY]
        chain = _chain(now.run, under_way)
        if chain:
            followed = chain[-1].stage
            result = watch(chain, exp_dir, screen, rank=rank, since=under_way[0].attempt or 0)
            goes_on = result.outcome == "done"
        elif under_way and under_way[0].attempt is not None:
            followed = under_way[0].stage
            _follow_here(exp_dir, under_way[0], rank, screen)
        else:
            # A command that is between two stages begins the next one, unless one stage is asked for.
            goes_on = bool(under_way) or (stage is None and owner_is_at_work(now.run, now.queue))
            time.sleep(FILES_EVERY_S if goes_on else 0.0)
    if not followed:
        print_logs(exp_dir, stage, rank, None)
    statuses = [one for one in read_run_status(exp_dir).statuses if stage in (None, one.stage)]
    unfinished = next((one for one in statuses if one.state != "done"), None)
    if unfinished is not None:
        screen.line(described(unfinished))
        return exit_code_of_all(["stopped" if unfinished.reason == SAVED else unfinished.state])
    if followed:
        show_metrics(exp_dir, exp_dir, followed, screen)
    return 0


@dataclass(frozen=True)
class RunStatus:
    """How one run is now."""

    run: RunFiles
    queue: QueueSnapshot
    statuses: list[StageStatus]


def read_run_status(exp_dir: Path) -> RunStatus:
    """Read the run's files, and ask Slurm if there is need to."""
    run = read_run(exp_dir)
    queue = query_queue(jobs_to_query([run]))
    return RunStatus(run, queue, stage_statuses(run, queue, time.time()))


def log_lines(exp_dir: Path, attempt: Attempt, rank: int, *, is_over: bool) -> Iterator[str]:
    """The log of one rank; before it the traceback of the rank that failed first, behind it Slurm's words.

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
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        if lines or path is paths[0]:
            yield f"==> {short_path(path)} <=="
            yield from lines or ["(nothing)"]


def described(one: StageStatus) -> str:
    """The state in one line: "stage 2 train: job 12 queued (Priority)"."""
    reason = f" ({one.reason})" if one.reason else ""
    who = f"job {one.job_id} " if one.job_id else ""
    return f"{label(one.stage) if one.stage else short_path(one.run)}: {who}{one.state}{reason}"


def _attempts(exp_dir: Path, stage: str | None, number: int | None) -> list[Attempt]:
    attempts = read_attempts(exp_dir, stage)
    if number is None:
        return attempts
    # A number alone means the stage that ran last.
    stages = {one.begin.stage for one in attempts[-1:]}
    own = [one for one in attempts if one.begin.stage in stages]
    chosen = [one for one in own if one.begin.number == number]
    if not chosen:
        known = ", ".join(str(one.begin.number) for one in own) or "none"
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

    described = {one.job.job.name for one in run.stages if one.job}
    return [
        JobHandle(jobs_dir(run.exp_dir) / one.job, one.job_id)
        for one in under_way
        if one.job in described and one.job_id
    ]


def _follow_here(exp_dir: Path, now: StageStatus, rank: int, screen: Screen) -> None:
    """Show an attempt whose tasks no job of ours runs, until it is over."""
    attempt = next(
        one for one in reversed(read_attempts(exp_dir, now.stage)) if one.begin.number == now.attempt
    )
    tail = LogTail(log_path(exp_dir, now.stage, attempt.begin.number, rank))
    beat = heartbeat_path(attempt.directory, 0)
    asked_at = time.monotonic()
    with ProgressBar(screen, label(now.stage)) as bar:
        while True:
            is_over = (attempt.directory / "end.json").exists()
            if not is_over and time.monotonic() - asked_at > QUEUE_EVERY_S[1]:
                asked_at = time.monotonic()
                is_over = not attempt.launcher.is_alive()
            for line in tail.lines():
                screen.line(line)
            if is_over:
                break
            if heartbeat := read_heartbeat(beat):
                bar.show(heartbeat)
            time.sleep(FILES_EVERY_S)
    for line in tail.rest():
        screen.line(line)
