"""Run trials on this machine, or in the allocation we are in: each in a process of its own."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from espnet3.launcher.rank.interrupts import SecondInterrupt, StopSignals
from espnet3.outcomes.exit_code import ENDED_AT_ONCE, end_without_result, exit_code_of_all
from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.execute.trial_process import start_trial, trial_log
from espnet3.sweep.show.results import read_sweep_status
from espnet3.sweep.show.states import TrialState
from espnet3.sweep.show.tracker import Tracker

POLL_S = 0.1


@dataclass(frozen=True)
class LocalTrial:
    """A trial that is to be run here."""

    name: str
    stages: list[str]


def run_here(
    sweep: Path,
    trials: Iterable[LocalTrial],
    tracker: Tracker,
    *,
    at_once: int,
    force: bool,
    command: str,
    ended: Callable[[str], None] = lambda name: None,
) -> int:
    """Run trials in order, `at_once` at a time, while the caller holds the sweep.

    One that fails does not end the others. Ctrl-C asks those that run to stop, and starts no more.

    Args:
        sweep: its directory.
        trials: which; the next one is asked for when there is room for it.
        tracker: is told how they are.
        at_once: how many run at the same time.
        force: run stages that are done, too.
        command: as it was typed.
        ended: is called with the name of each that has ended, when the tracker knows its state.

    Returns:
        0; 75 when it was asked to stop; 130 after a second Ctrl-C.
    """
    waiting, running = iter(trials), dict[str, "Popen[bytes]"]()
    with StopSignals() as interrupts:
        try:
            asked, more = False, True
            while running or (more and not interrupts.stop.is_set()):
                while more and len(running) < at_once and not interrupts.stop.is_set():
                    one = next(waiting, None)
                    if one is None:
                        more = False
                        break
                    running[one.name] = start_trial(
                        sweep,
                        one.name,
                        one.stages,
                        force=force,
                        command=command,
                    )
                    tracker.note(one.name, TrialState("running"))
                if interrupts.stop.is_set() and not asked:
                    asked = True
                    for process in running.values():
                        process.send_signal(signal.SIGTERM)
                for name, process in list(running.items()):
                    if process.poll() is not None:
                        del running[name]
                        _note_end(sweep, name, process.returncode, tracker)
                        ended(name)
                time.sleep(POLL_S)
        except SecondInterrupt:
            _kill(running)
            return ENDED_AT_ONCE
        except BaseException:
            _kill(running)
            raise
        return exit_code_of_all(["stopped"] if interrupts.stop.is_set() else [])


def _note_end(sweep: Path, name: str, code: int, tracker: Tracker) -> None:
    (row,) = read_sweep_status(sweep, names=[name], queue=QueueSnapshot()).rows
    state = row.state
    if state.state in ("missing", "running"):
        output = trial_log(sweep, name).read_text(errors="replace").strip().splitlines()
        end = end_without_result(code, output)
        state = TrialState(end.outcome, end.reason)
    tracker.note(name, state, row.objective)


def _kill(running: dict[str, "Popen[bytes]"]) -> None:
    """End processes, and the tasks below them, at once."""
    for process in running.values():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
