"""Follow a running job: its first rank's log and progress on the screen, until its tasks are gone."""

import contextlib
import os
import signal
import time
from pathlib import Path

from espnet3.errors import short_path
from espnet3.launch.screen import ProgressBar, Screen
from espnet3.launch.submit import LocalJob
from espnet3.rundir.heartbeat import read_heartbeat
from espnet3.rundir.layout import heartbeat_path
from espnet3.rundir.outcome import Outcome, TaskState, first_failure, job_outcome, read_states
from espnet3.rundir.process import ProcessName
from espnet3.rundir.stop import StopFlag

POLL_S = 0.1
PEER_GRACE_S = 5.0
"""How long the other ranks may take to notice that one has failed before they are ended."""
ENDING_GRACE_S = 2.0


class LogTail:
    """New complete lines of a growing file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._rest = b""

    def lines(self) -> list[str]:
        """Lines that were completed since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(new)
        *complete, self._rest = (self._rest + new).split(b"\n")
        return [line.decode(errors="replace") for line in complete]

    def rest(self) -> list[str]:
        """The last line, if it has no end."""
        rest, self._rest = self._rest, b""
        return [rest.decode(errors="replace")] if rest else []


def follow(job: LocalJob, title: str, stop: StopFlag, screen: Screen) -> Outcome:
    """Show `job` until it has ended; a `stop` that is set meanwhile is passed on once.

    Every rank ends when one fails: at the latest after PEER_GRACE_S they are made to.
    """
    tail = LogTail(job.log)
    asked, failed_at = False, None
    ended: set[int] = set()
    with ProgressBar(screen, title) as bar:
        while job.is_running():
            heartbeat = read_heartbeat(heartbeat_path(job.directory, 0))
            if heartbeat:
                bar.show(heartbeat)
            for line in tail.lines():
                screen.line(line)
            if stop.is_set() and not asked:
                asked = True
                job.ask_to_stop()
            if failed_at is None and any_failed(read_states(job.directory), job.world_size):
                failed_at = time.monotonic()
            if failed_at is not None and time.monotonic() - failed_at > PEER_GRACE_S:
                ended |= end_now(job)
            time.sleep(POLL_S)
        for line in [*tail.lines(), *tail.rest()]:
            screen.line(line)
    states = read_states(job.directory)
    if asked and not states:
        return "stopped"  # asked before any task had begun
    outcome = job_outcome(states, job.world_size)
    _explain(job, states, ended, screen)
    return outcome


def any_failed(states: list[TaskState], world_size: int) -> bool:
    """Whether a rank of several has failed or was killed while others may wait for it."""
    if world_size == 1:
        return False
    return any(
        state.outcome == "failed" or (state.outcome is None and not ProcessName(**state.process).is_alive())
        for state in states
    )


def end_now(job: LocalJob) -> set[int]:
    """Kill every task that still lives, and name them; their controller ends by itself then."""
    ended = set()
    for state in read_states(job.directory):
        process = ProcessName(**state.process)
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
                ended.add(state.rank)
    return ended


def kill(job: LocalJob) -> None:
    """End a job at once, whatever state it is in, and wait until its processes are gone."""
    job.ask_to_stop()  # one that has not begun ends by this
    deadline = time.monotonic() + ENDING_GRACE_S
    while job.is_running() and time.monotonic() < deadline:
        end_now(job)
        time.sleep(0.02)
    if job.is_running():
        job.controller.kill()
    job.controller.wait()
    end_now(job)


def _explain(job: LocalJob, states: list[TaskState], ended: set[int], screen: Screen) -> None:
    """Say which rank went first, where rank 0's log, which was on the screen already, does not."""
    killed = [state for state in states if state.outcome is None and state.rank not in ended]
    for state in killed:
        screen.line(f"rank {state.rank} was killed, see {short_path(state.log)}")
    failure = first_failure(states)
    if failure is not None and failure.rank > 0 and not killed:
        screen.line(f"rank {failure.rank} failed first, see {short_path(failure.log)}: {failure.message}")
        for line in failure.traceback.rstrip().splitlines():
            screen.line(line)
    for rank in sorted(set(range(job.world_size)) - {state.rank for state in states}):
        screen.line(f"rank {rank} ended before it began:")
        for path in job.early_logs.glob(f"*_{rank}_log.out"):
            for line in path.read_text(errors="replace").splitlines()[-20:]:
                screen.line(line)
