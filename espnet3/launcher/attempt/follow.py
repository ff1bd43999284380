"""Follow an attempt whose tasks this process has started: rank 0's log and progress, until all have ended."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from espnet3.errors import short_path
from espnet3.launcher.attempt.hang_check import HangCheck
from espnet3.launcher.start.tasks import RunningTasks
from espnet3.outcomes.attempt import (
    attempt_result,
    failure_without_lost_peer,
    missing_ranks,
    with_cause,
)
from espnet3.outcomes.hang import Hang, hung_result
from espnet3.rundir.files.json_file import from_plain
from espnet3.rundir.files.log_tail import LogTail, without_log_only
from espnet3.rundir.heartbeat import read_heartbeat
from espnet3.rundir.layout import HANG_REPORT, heartbeat_path
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.outcome import TaskState, read_task_states
from espnet3.rundir.stop import StopFlag
from espnet3.terminal.screen import ProgressBar, Screen

POLL_S = 0.1
STATES_EVERY_S = 0.5
"""How often the ranks' state files are read: one file per rank, on a shared file system."""
PEER_GRACE_S = 4.5
"""How long the other ranks may take to notice that one has failed before they are ended."""
ALL_BEGIN_WITHIN_S = 30.0
"""How long a request to stop waits for all ranks to have begun; the signal kills one that has not."""


def follow(
    tasks: RunningTasks,
    title: str,
    stop: StopFlag,
    screen: Screen,
    *,
    show_log: bool = True,
    nodes: Sequence[str] = (),
) -> AttemptResult:
    """Show `tasks` until they have ended, and return how; a `stop` that is set meanwhile is passed on once.

    A stop is passed on when all ranks have begun: the signal would kill one that has no handler yet.
    When one rank fails the others end too: after PEER_GRACE_S they are killed. When no rank moves any more,
    what is known of it is written down, and all are killed. `nodes` are the attempt's, in the order of its
    ranks, if a node may be to blame.
    """
    tail = LogTail(tasks.log) if show_log else None
    stop_sent, stop_deadline, failed_at, next_check_at = False, None, None, 0.0
    ended: set[int] = set()
    perhaps_ended: set[int] = set()
    hang_check, hang = HangCheck(tasks.directory, tasks.world_size), None
    with ProgressBar(screen, title) as bar:
        while tasks.is_running():
            heartbeat = read_heartbeat(heartbeat_path(tasks.directory, 0)) if screen.is_terminal else None
            if heartbeat:
                bar.show(heartbeat)
            for line in without_log_only(tail.lines()) if tail else ():
                screen.line(line)
            if stop.is_set() and not stop_sent:
                stop_deadline = stop_deadline or time.monotonic() + ALL_BEGIN_WITHIN_S
                all_begun = len(read_task_states(tasks.directory)) == tasks.world_size
                if all_begun or time.monotonic() > stop_deadline:
                    stop_sent = True
                    tasks.ask_to_stop()
            if failed_at is None and time.monotonic() >= next_check_at:
                next_check_at = time.monotonic() + STATES_EVERY_S
                if tasks.lost_ranks() or any_failed(tasks.directory, tasks.world_size):
                    failed_at = time.monotonic()
                elif (hang := hang_check.find()) is not None:
                    failed_at = float("-inf")
                    screen.line(_write_hang(hang, hang_check, tasks))
            if failed_at is not None and time.monotonic() - failed_at > PEER_GRACE_S:
                perhaps_ended |= _perhaps_alive(tasks.directory) - set(tasks.lost_ranks())
                ended |= tasks.end_now()
            time.sleep(POLL_S)
        for line in without_log_only([*tail.lines(), *tail.rest()]) if tail else ():
            screen.line(line)
    states, lost = read_task_states(tasks.directory), tasks.lost_ranks()
    result = attempt_result(
        states,
        tasks.world_size,
        ended=ended,
        perhaps_ended=perhaps_ended - set(lost),
        killed_by=lost,
        stop_reason=stop.reason,
        start_error="" if states else tasks.start_error(),
        nodes=nodes,
    )
    if hang is not None:
        return hung_result(result, hang, str(tasks.log.with_name(f"rank-{hang.ranks[0]}.log")))
    for line in cause_lines(states, show_log=show_log):
        screen.line(line)
    if result.outcome == "killed" and result.rank is not None:
        early_output = tasks.early_output(result.rank)
        for line in early_output if result.rank in missing_ranks(states, tasks.world_size) else ():
            screen.line(line)
        result = with_cause(result, early_output)
    return result


def _write_hang(hang: Hang, check: HangCheck, tasks: RunningTasks) -> str:
    """Write all about a hang beside the logs; the line for the screen."""
    path = tasks.log.with_name(HANG_REPORT)
    try:
        check.write(hang, path)
    except OSError as error:  # a full disk: the ranks end anyway
        return f"the training hangs: {hang.line} (can't write {short_path(str(path))}: {error})"
    return f"the training hangs: {hang.line}; see {short_path(str(path))}"


def any_failed(directory: Path, world_size: int) -> bool:
    """Whether one of several ranks has failed or was killed, so that others may wait for it."""
    if world_size == 1:
        return False
    return any(
        state.outcome == "failed" or (state.outcome is None and _is_known_to_be_dead(state))
        for state in read_task_states(directory)
    )


def _perhaps_alive(directory: Path) -> set[int]:
    """The ranks without an outcome, except those of this machine whose processes are gone."""
    states = read_task_states(directory)
    return {state.rank for state in states if state.outcome is None and not _is_known_to_be_dead(state)}


def _is_known_to_be_dead(state: TaskState) -> bool:
    process = from_plain(ProcessName, state.process)
    return process.is_here and not process.is_alive()


def cause_lines(states: list[TaskState], *, show_log: bool) -> Iterator[str]:
    """Lines on the rank that failed first, if any, as far as the log of rank 0, if shown, lacks them."""
    failure = failure_without_lost_peer(states)
    if failure is not None and ((failure.rank > 0 and not failure.diverged) or not show_log):
        yield f"rank {failure.rank} failed first, see {short_path(failure.log)}: {failure.message}"
        yield from failure.traceback.rstrip().splitlines()
