"""Threads beside a stage that ask it to stop, or end it: time limit, slow stop, launcher gone."""

import logging
import os
import signal
import threading
import time
from pathlib import Path

from espnet3.outcomes.rank import unsaved_state
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.outcome import EXIT_CODES, TaskState, write_task_state
from espnet3.rundir.stop import TIME_LIMIT, StopFlag

log = logging.getLogger(__name__)

ORPHAN_GRACE_S = 20.0
"""How long a task whose command is gone may take to save before it ends itself."""


def stop_on_time(at: float, stop: StopFlag) -> None:
    """Ask the stage to stop at a time, in seconds since the epoch, as the signal ahead of a limit does."""

    def watch() -> None:
        time.sleep(max(0.0, at - time.time()))
        stop.set(TIME_LIMIT)

    threading.Thread(target=watch, name="stop-on-time", daemon=True).start()


def end_in_time(within_s: float, stop: StopFlag, directory: Path, state: TaskState) -> None:
    """When asked to stop and `within_s` later still at work: end as stopped, before Slurm kills the job.

    What was not saved is lost, and the next attempt continues from the newest checkpoint.
    """

    def watch() -> None:
        while not stop.is_set():
            time.sleep(0.5)
        time.sleep(within_s)
        log.warning("asked to stop by %s, and not done with saving after %.0f s: ends", stop.reason, within_s)
        ended = unsaved_state(state, within_s=within_s, asked_by=stop.reason or "", now=time.time())
        write_task_state(directory, ended)
        os._exit(EXIT_CODES["stopped"])

    threading.Thread(target=watch, name="end-in-time", daemon=True).start()


def end_with(launcher: ProcessName, stop: StopFlag, after_s: float) -> None:
    """Watch the launching process: when it is gone, ask the stage to stop, and end anyway after a grace.

    Args:
        launcher: that process, on this host.
        stop: is set `after_s` later, in seconds.
    """

    def watch() -> None:
        while launcher.is_alive():
            time.sleep(0.5)
        time.sleep(after_s)
        stop.set("the command that started it is gone")
        time.sleep(ORPHAN_GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="watch-launcher", daemon=True).start()
