"""Follow an attempt whose tasks this process has started: rank 0's log and progress, until all are gone."""

import time
from pathlib import Path

from espnet3.errors import short_path
from espnet3.launcher.start.tasks import RunningTasks
from espnet3.rundir.attempt import End
from espnet3.rundir.heartbeat import read_heartbeat
from espnet3.rundir.json_file import from_plain
from espnet3.rundir.layout import heartbeat_path
from espnet3.rundir.log_tail import LogTail
from espnet3.rundir.outcome import TaskState, attempt_outcome, first_failure, read_task_states
from espnet3.rundir.process import ProcessName
from espnet3.rundir.stop import StopFlag
from espnet3.terminal.screen import ProgressBar, Screen

POLL_S = 0.1
STATES_EVERY_S = 0.5
"""Between two looks at the ranks' states: a file of each, on a file system that many share."""
PEER_GRACE_S = 4.5
"""How long the other ranks may take to notice that one has failed before they are ended."""
HEARS_WITHIN_S = 30.0
"""A rank that has not begun after so long is asked to stop nevertheless, which ends it."""


def follow(tasks: RunningTasks, title: str, stop: StopFlag, screen: Screen, *, show_log: bool = True) -> End:
    """Show `tasks` until they have ended, and say how; a `stop` that is set meanwhile is passed on once.

    It waits for all ranks to have begun: one that does not hear yet would die of the signal, as if killed.
    Every rank ends when one fails: at the latest after PEER_GRACE_S they are made to.
    """
    tail = LogTail(tasks.log) if show_log else None
    asked, stop_at, failed_at, next_look = False, None, None, 0.0
    ended: set[int] = set()
    with ProgressBar(screen, title) as bar:
        while tasks.is_running():
            heartbeat = read_heartbeat(heartbeat_path(tasks.directory, 0)) if screen.is_terminal else None
            if heartbeat:
                bar.show(heartbeat)
            for line in tail.lines() if tail else ():
                screen.line(line)
            if stop.is_set() and not asked:
                stop_at = stop_at or time.monotonic() + HEARS_WITHIN_S
                if len(read_task_states(tasks.directory)) == tasks.world_size or time.monotonic() > stop_at:
                    asked = True
                    tasks.ask_to_stop()
            if failed_at is None and time.monotonic() >= next_look:
                next_look = time.monotonic() + STATES_EVERY_S
                if tasks.lost_ranks() or any_failed(tasks.directory, tasks.world_size):
                    failed_at = time.monotonic()
            if failed_at is not None and time.monotonic() - failed_at > PEER_GRACE_S:
                ended |= tasks.end_now()
            time.sleep(POLL_S)
        for line in [*tail.lines(), *tail.rest()] if tail else ():
            screen.line(line)
    states = read_task_states(tasks.directory)
    if stop.is_set() and not states:
        return End("stopped", stop.reason or "")  # asked before any task had begun
    return explain(tasks, states, ended, screen, stop, show_log=show_log)


def any_failed(directory: Path, world_size: int) -> bool:
    """Whether a rank of several has failed or was killed while others may wait for it."""
    if world_size == 1:
        return False
    return any(
        state.outcome == "failed"
        or (
            state.outcome is None
            and (process := from_plain(ProcessName, state.process)).is_here
            and not process.is_alive()
        )
        for state in read_task_states(directory)
    )


def explain(
    tasks: RunningTasks,
    states: list[TaskState],
    ended: set[int],
    screen: Screen,
    stop: StopFlag,
    *,
    show_log: bool,
) -> End:
    """How the tasks ended, in a word and a line; what rank 0's log does not show is put on the screen."""
    killed = [state for state in states if state.outcome is None and state.rank not in ended]
    missing = sorted(set(range(tasks.world_size)) - {state.rank for state in states})
    failure = first_failure(states)
    own_failure = failure is not None and not failure.peer_lost
    outcome = attempt_outcome(
        [s for s in states if s.rank not in ended or s.outcome], tasks.world_size - len(ended)
    )
    reason = ""
    if own_failure and failure is not None:
        outcome, reason = "failed", f"rank {failure.rank}: {failure.message}"
        if failure.rank > 0 or not show_log:
            screen.line(f"rank {failure.rank} failed first, see {short_path(failure.log)}: {failure.message}")
            for line in failure.traceback.rstrip().splitlines():
                screen.line(line)
    elif killed:
        who = ", ".join(str(state.rank) for state in killed)
        on = sorted({state.node for state in killed if state.node})
        reason = f"rank {who} was killed" + (f" on {', '.join(on)}" if on else "")
        for state in killed:
            screen.line(f"rank {state.rank} was killed, see {short_path(state.log)}")
    elif outcome == "stopped":
        reason = next((state.asked_by for state in states if state.asked_by), "")
    elif failure is not None:
        reason = f"rank {failure.rank}: {failure.message}"
    if outcome != "done" and not own_failure:
        for rank in missing:
            reason = reason or f"rank {rank} ended before it began"
            screen.line(f"rank {rank} ended before it began:")
            for line in tasks.early_output(rank):
                screen.line(line)
    if stop.is_set() and outcome == "stopped":
        reason = stop.reason or reason
    return End(outcome, reason)
