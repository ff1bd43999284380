"""Run trials on this machine, or in the current allocation, each in its own process."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from espnet3.launcher.rank.interrupts import SecondInterrupt, StopSignals
from espnet3.outcomes.exit_code import KILLED_BY_CTRL_C, exit_code_of_all, result_of_process
from espnet3.resources import Resources
from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.execute.trial_process import TrialProcess, start_trial, trial_log
from espnet3.sweep.jobs.plan import Batch
from espnet3.sweep.show.results import read_sweep_status
from espnet3.sweep.show.states import TrialState
from espnet3.sweep.show.tracker import Tracker

POLL_S = 0.1


@dataclass(frozen=True)
class LocalTrial:
    """A trial to run on this machine."""

    name: str
    stages: list[str]
    resources: Resources | None
    """Of its ranks on this machine; None if they run in the current allocation."""

    @classmethod
    def all_of(cls, batch: Batch) -> list["LocalTrial"]:
        """The trials of a batch that is not submitted."""
        resources = batch.main.resources if batch.main.launcher == "local" else None
        return [cls(trial.name, batch.stages, resources) for trial in batch.trials]


def run_local_trials(
    sweep: Path,
    trials: Iterable[LocalTrial],
    tracker: Tracker,
    *,
    at_once: int,
    force: bool,
    command: str,
    on_end: Callable[[str], None] = lambda name: None,
) -> int:
    """Run trials in order, `at_once` at a time; the caller holds the sweep.

    A failed trial does not end the others. Ctrl-C asks the running ones to stop, and starts no more.

    Args:
        sweep: its directory.
        trials: which; the next one is taken when fewer than `at_once` run.
        tracker: is updated with their states.
        at_once: how many run at the same time.
        force: run finished stages again.
        command: the command line, for the records.
        on_end: called with the name of each trial that has ended, after the tracker was updated.

    Returns:
        0; 75 if it was asked to stop; 130 after a second Ctrl-C.
    """
    pending, running = iter(trials), dict[str, TrialProcess]()
    with StopSignals() as interrupts:
        try:
            stop_sent, more = False, True
            while running or (more and not interrupts.stop.is_set()):
                while more and len(running) < at_once and not interrupts.stop.is_set():
                    trial = next(pending, None)
                    if trial is None:
                        more = False
                        break
                    running[trial.name] = start_trial(
                        sweep,
                        trial.name,
                        trial.stages,
                        force=force,
                        command=command,
                        resources=trial.resources,
                    )
                    tracker.update(trial.name, TrialState("running"))
                if interrupts.stop.is_set() and not stop_sent:
                    stop_sent = True
                    for process in running.values():
                        process.ask_to_stop()
                for name, process in list(running.items()):
                    if (code := process.poll()) is not None:
                        del running[name]
                        _note_end(sweep, name, code, tracker)
                        on_end(name)
                time.sleep(POLL_S)
        except SecondInterrupt:
            _kill(running)
            return KILLED_BY_CTRL_C
        except BaseException:
            _kill(running)
            raise
        return exit_code_of_all(["stopped"] if interrupts.stop.is_set() else [])


def _note_end(sweep: Path, name: str, exit_code: int, tracker: Tracker) -> None:
    (row,) = read_sweep_status(sweep, names=[name], queue=QueueSnapshot()).rows
    state = row.state
    if state.state in ("missing", "running"):  # it recorded no end
        output = trial_log(sweep, name).read_text("utf-8", errors="replace").strip().splitlines()
        result = result_of_process(exit_code, output)
        state = TrialState(result.outcome, result.reason)
    tracker.update(name, state, row.objective)


def _kill(running: dict[str, TrialProcess]) -> None:
    for process in running.values():
        process.kill()
