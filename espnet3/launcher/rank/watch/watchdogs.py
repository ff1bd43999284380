"""Threads that make a stage stop, or end its process: signals, time limit, slow stop, lost launcher."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from espnet3.launcher.rank.interrupts import STOP_SIGNALS
from espnet3.outcomes.rank import unsaved_state
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.outcome import EXIT_CODES, TaskState, write_task_state
from espnet3.rundir.stop import TIME_LIMIT, StopFlag

log = logging.getLogger(__name__)

ORPHAN_GRACE_S = 20.0
"""How long a task whose launching process is gone may take to save before it kills itself."""


def hear_stop_signals(stop: StopFlag) -> None:
    """Set `stop` as soon as a signal arrives, also while the main thread is in a long call of C code.

    Python runs a signal's handler when such a call returns, which may be after minutes. Forked children, such
    as workers of a data loader, don't report theirs.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))

    def watch() -> None:
        while True:
            for number in os.read(reader, 64):
                if number in STOP_SIGNALS:
                    stop.set(signal.Signals(number).name)

    threading.Thread(target=watch, name="hear-stop-signals", daemon=True).start()


def stop_at_time(at: float, stop: StopFlag, read_again: Callable[[], float | None]) -> None:
    """Ask the stage to stop at `at`, like the signal ahead of a time limit; not if that was raised meanwhile.

    Args:
        at: in seconds since the epoch.
        stop: the flag to set.
        read_again: the time by Slurm's current time limit; None if Slurm does not say.
    """

    def watch() -> None:
        due: float | None = at
        while due is not None:
            time.sleep(max(0.0, due - time.time()))
            now_due = read_again()
            due = now_due if now_due is not None and now_due > max(due, time.time()) else None
        stop.set(TIME_LIMIT)

    threading.Thread(target=watch, name="stop-at-time", daemon=True).start()


def exit_if_stop_is_slow(within_s: float, stop: StopFlag, directory: Path, state: TaskState) -> None:
    """Exit as stopped if a stage still runs `within_s` after a request to stop, before Slurm kills the job.

    Unsaved work is lost; the next attempt continues from the newest checkpoint.
    """

    def watch() -> None:
        while not stop.is_set():
            time.sleep(0.5)
        time.sleep(within_s)
        log.warning("asked to stop by %s, and not done with saving after %.0f s: ends", stop.reason, within_s)
        stopped_state = unsaved_state(state, within_s=within_s, asked_by=stop.reason or "", now=time.time())
        write_task_state(directory, stopped_state)
        os._exit(EXIT_CODES["stopped"])

    threading.Thread(target=watch, name="exit-if-stop-is-slow", daemon=True).start()


def stop_without_launcher(launcher: ProcessName, stop: StopFlag, after_s: float) -> None:
    """When the launching process is gone: ask the stage to stop, and kill this process ORPHAN_GRACE_S later.

    Args:
        launcher: the launching process, on this host.
        stop: the flag to set.
        after_s: seconds between the launcher's end and the request to stop.
    """

    def watch() -> None:
        while launcher.is_alive():
            time.sleep(0.5)
        time.sleep(after_s)
        stop.set("the command that started it is gone")
        time.sleep(ORPHAN_GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="watch-launcher", daemon=True).start()
