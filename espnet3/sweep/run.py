"""Run those trials of a sweep that need it: submitted to Slurm and followed, or on this machine."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.errors import UserError, short_path
from espnet3.launcher.follow.jobs import DETACHED_BY_CTRL_C
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.planning.decide import check_inputs
from espnet3.outcomes.exit_code import exit_code_of_all
from espnet3.slurm.allocation import Allocation
from espnet3.slurm.limits import read_limits
from espnet3.stages import label
from espnet3.sweep.execute.local_trials import LocalTrial, run_here
from espnet3.sweep.jobs.plan import Batch, plan_batches
from espnet3.sweep.jobs.queueing import SubmissionResult, WaitingArray, submit_some
from espnet3.sweep.jobs.settled import settled_states
from espnet3.sweep.jobs.shared import run_shared
from espnet3.sweep.jobs.submit import ArrayRequest, array_name, array_requests, check_parts
from espnet3.sweep.show.results import read_sweep_status
from espnet3.sweep.show.states import UNDER_WAY
from espnet3.sweep.show.table import sweep_table
from espnet3.sweep.show.tracker import Tracker
from espnet3.sweep.show.watch import watch_trials
from espnet3.sweep.trials.folder import trial_dir
from espnet3.sweep.trials.record import SweepRecord
from espnet3.sweep.trials.trial import Base, Trial, configured
from espnet3.terminal.screen import Screen

_ROOM_EVERY_S = 30.0
"""Slurm forgets finished jobs after some minutes (MinJobAge)."""


@dataclass(frozen=True)
class SweepOptions:
    """How trials are to be run."""

    stages: list[str]
    command: str
    """As it was typed."""
    force: bool = False
    detach: bool = False
    allocation: Allocation | None = None
    """The one this process is in."""


@dataclass(frozen=True)
class TrialSelection:
    """The trials that a command is about."""

    to_run: list[Trial]
    under_way: list[str]
    done: list[str]

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.done, *self.under_way, *(trial.name for trial in self.to_run)]

    def __str__(self) -> str:
        parts = [f"{len(self.to_run)} to run"]
        parts += [f"{len(self.done)} done"] if self.done else []
        parts += [f"{len(self.under_way)} under way"] if self.under_way else []
        return f"{len(self.names)} trial{'s' * (len(self.names) != 1)}: {', '.join(parts)}"


@dataclass(frozen=True)
class StartResult:
    """What was set going."""

    code: int | None = None
    """The command's exit code, where it has one already."""
    queued: SubmissionResult = field(default_factory=SubmissionResult)
    """On Slurm."""


def choose(sweep: Path, trials: Sequence[Trial], record: SweepRecord, *, force: bool) -> TrialSelection:
    """Which trials are to be run: with `force` those too that are done, but never one that is under way.

    Raises:
        UserError: Slurm does not say what is queued.
    """
    states = settled_states(sweep, [trial.name for trial in trials], record.listed)
    to_run, under_way, done = [], [], []
    for trial in trials:
        state = states[trial.name].state
        if state in UNDER_WAY:
            under_way.append(trial.name)
        elif state == "done" and not force:
            done.append(trial.name)
        else:
            to_run.append(trial)
    return TrialSelection(to_run, under_way, done)


def plan_and_check(
    sweep: Path, trials: Sequence[Trial], bases: Mapping[str, Base], asked: SweepOptions
) -> list[Batch]:
    """The batches of trials, checked as far as can be before anything is started.

    Raises:
        UserError: a contradiction, a missing input, or Slurm would refuse.
    """
    batches = plan_batches(sweep, trials, bases, asked.stages, asked.allocation) if trials else []
    for batch in batches:
        if asked.detach and not batch.on_slurm:
            raise UserError(
                f"--detach: trials run here (launcher={batch.main.launcher}); only those on Slurm go on by"
                " themselves: give launcher=slurm"
            )
        _check_inputs(sweep, batch, bases, asked.stages)
    submitted = [batch for batch in batches if batch.on_slurm]
    if submitted:
        check_parts(sweep, [_parts(batch, bases)[0] for batch in submitted], "espnet3")
    return batches


def start(
    sweep: Path, batches: Sequence[Batch], bases: Mapping[str, Base], asked: SweepOptions, screen: Screen
) -> StartResult:
    """Submit the trials that go to Slurm, then run the others to their end; the caller holds the sweep.

    Raises:
        UserError: Slurm refuses, or does not answer; what was queued before that stays.
    """
    waiting: list[WaitingArray] = []
    for batch in batches:
        after: list[str] = []
        if batch.shared is not None:
            base = bases[batch.shared.trial.config]
            command = [asked.command]
            code, after = run_shared(
                sweep, batch.shared, base, force=asked.force, command=command, screen=screen
            )
            if code:
                return StartResult(code)
        if batch.on_slurm:
            name = array_name(bases[batch.trials[0].config])
            waiting += [WaitingArray(part, name, after) for part in _parts(batch, bases)]
    queued = submit_some(sweep, waiting, force=asked.force, command=[asked.command], screen=screen)
    here = [batch for batch in batches if not batch.on_slurm]
    if not here:
        return StartResult(None, queued)
    trials = [LocalTrial(trial.name, batch.stages) for batch in here for trial in batch.trials]
    settings = _settings(here[0], bases)
    record = read_sweep_status(sweep, names=[]).record
    with Tracker(screen, [trial.name for trial in trials], record.objective) as tracker:
        code = run_here(
            sweep,
            trials,
            tracker,
            at_once=settings["max_parallel"] or 1,
            force=asked.force,
            command=asked.command,
        )
    return StartResult(code or None, queued)


def finish(
    sweep: Path, chosen: TrialSelection, started: StartResult, asked: SweepOptions, screen: Screen
) -> int:
    """Follow what is on Slurm, submit what had no room there, show the table, and return the exit code."""
    queued, under_way = started.queued, [*chosen.under_way, *started.queued.names]
    if asked.detach:
        screen.line(f"queued: {', '.join(queued.arrays) or 'nothing new'}")
        if queued.waiting:
            screen.line(
                f"{queued.left} trials wait for room: `espnet3 resume {short_path(sweep)}` submits them"
            )
        screen.line(how_to_follow(sweep))
        return 0
    if started.code is not None:
        for line in sweep_table(read_sweep_status(sweep)):
            screen.styled(line)
        return started.code
    while queued.waiting:
        code = follow(sweep, under_way, screen, names=chosen.names, show=False)
        if code == DETACHED_BY_CTRL_C:
            return code
        with hold_directory(sweep, screen, wait=True):
            queued = submit_some(
                sweep, queued.waiting, force=asked.force, command=[asked.command], screen=screen
            )
        under_way = queued.names
        if not under_way:
            time.sleep(_ROOM_EVERY_S)
    return follow(sweep, under_way, screen, names=chosen.names)


def follow(
    sweep: Path,
    under_way: Sequence[str],
    screen: Screen,
    *,
    names: Sequence[str] | None = None,
    show: bool = True,
) -> int:
    """Show trials until they are over, or until Ctrl-C, then with `show` the table of all.

    Args:
        sweep: its directory.
        under_way: the trials that are waited for.
        screen: where they are shown.
        names: those whose end decides the exit code; None: all that are of no older configuration.
    """
    if under_way:
        record = read_sweep_status(sweep, names=[]).record
        try:
            with Tracker(screen, list(under_way), record.objective) as tracker:
                watch_trials(sweep, under_way, tracker, screen)
        except KeyboardInterrupt:
            screen.line("detached: the trials go on")
            screen.line(how_to_follow(sweep))
            return DETACHED_BY_CTRL_C
    seen = read_sweep_status(sweep)
    for line in sweep_table(seen) if show else ():
        screen.styled(line)
    asked_for = set(names) if names is not None else {row.name for row in seen.rows if not row.listed.older}
    states = {row.state.state for row in seen.rows if row.name in asked_for}
    return exit_code_of_all(states)


def how_to_follow(sweep: Path) -> str:
    """How to come back to a sweep."""
    where = short_path(sweep)
    return f"follow: espnet3 logs -f {where}    look: espnet3 status {where}    end: espnet3 cancel {where}"


def _parts(batch: Batch, bases: Mapping[str, Base]) -> list[ArrayRequest]:
    settings = _settings(batch, bases)
    return array_requests(
        batch,
        [trial.name for trial in batch.trials],
        read_limits(),
        max_parallel=settings["max_parallel"],
        trials_per_job=settings["trials_per_job"],
    )


def _settings(batch: Batch, bases: Mapping[str, Base]) -> dict[str, Any]:
    settings: dict[str, Any] = bases[batch.trials[0].config]["sweep"]
    return settings


def _check_inputs(sweep: Path, batch: Batch, bases: Mapping[str, Base], stages: Sequence[str]) -> None:
    """What the first stage needs must be there: for a training for all trials the same, so one is asked."""
    asked_for = batch.trials if stages[0] == "validate" else batch.trials[:1]
    for trial in asked_for:
        exp_dir = trial_dir(sweep, trial.name)
        if stages[0] == "validate" and not (exp_dir / "stages" / "train.json").exists():
            raise UserError(f"trial {trial.name} has no training: {label('train')} makes one, use --stage 2")
    first = batch.trials[0]
    config = configured(sweep, first, bases[first.config], first.name, trial_dir(sweep, first.name))
    check_inputs(config, list(stages))
