"""Run the trials of a sweep: submit them to Slurm and follow them, or run them on this machine."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.errors import UserError, command_path
from espnet3.launcher.attempt.data_check import check_before_queueing
from espnet3.launcher.follow.jobs import DETACHED_BY_CTRL_C, print_commands
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.planning.decide import check_inputs
from espnet3.number_text import counted
from espnet3.outcomes.exit_code import exit_code_of_all
from espnet3.rundir.records.outcome import EXIT_CODES
from espnet3.rundir.records.record import read_record
from espnet3.slurm.allocation import Allocation
from espnet3.stage_table import LONGER, STAGES, label
from espnet3.sweep.execute.local_trials import LocalTrial, run_local_trials
from espnet3.sweep.jobs.plan import Batch, plan_batches
from espnet3.sweep.jobs.queueing import SubmissionResult, WaitingArray, submit_some
from espnet3.sweep.jobs.settled import settled_states
from espnet3.sweep.jobs.shared import each_by_itself, run_shared
from espnet3.sweep.jobs.submit import arrays_of, check_parts
from espnet3.sweep.jobs.targets import check_targets
from espnet3.sweep.jobs.waiting import submit_waiting, waiting_arrays
from espnet3.sweep.show.length import lags_behind, trained_length
from espnet3.sweep.show.results import read_sweep_status
from espnet3.sweep.show.states import UNDER_WAY
from espnet3.sweep.show.table import sweep_table
from espnet3.sweep.show.tracker import Tracker
from espnet3.sweep.show.watch import watch_trials
from espnet3.sweep.trials.folder import trial_dir
from espnet3.sweep.trials.record import SweepRecord
from espnet3.sweep.trials.trial import Base, Trial, build_trial_config, value_at
from espnet3.sweep.trials.waiting import waiting_trials
from espnet3.terminal.screen import Screen

_RESUBMIT_EVERY_S = 30.0
"""Pause until the next submission; Slurm forgets finished jobs after some minutes (MinJobAge)."""


@dataclass(frozen=True)
class SweepOptions:
    """How trials are run."""

    stages: list[str]
    command: str
    """The command line, for the records."""
    force: bool = False
    detach: bool = False
    allocation: Allocation | None = None
    """The current one."""


@dataclass(frozen=True)
class TrialSelection:
    """The trials of a command by what is left to do."""

    to_run: list[Trial]
    under_way: list[str]
    done: list[str]
    diverged: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names of all of them."""
        return [*self.done, *self.diverged, *self.under_way, *(trial.name for trial in self.to_run)]

    def __str__(self) -> str:
        counts = [f"{len(self.to_run)} to run"]
        counts += [f"{len(self.done)} done"] if self.done else []
        counts += [f"{len(self.diverged)} diverged, which only --force runs again"] if self.diverged else []
        counts += [f"{len(self.under_way)} under way"] if self.under_way else []
        return f"{counted(len(self.names), 'trial')}: {', '.join(counts)}"


@dataclass(frozen=True)
class StartResult:
    """The trials that were started."""

    code: int | None = None
    """The command's exit code; None while trials on Slurm must be followed."""
    queued: SubmissionResult = field(default_factory=SubmissionResult)
    """Trials submitted to Slurm."""


def select_trials(
    sweep: Path,
    trials: Sequence[Trial],
    record: SweepRecord,
    *,
    force: bool,
    diverged_again: bool = False,
    bases: Mapping[str, Base] | None = None,
) -> TrialSelection:
    """Select the trials to run: unfinished ones, with `force` also done ones, never those under way.

    Diverged ones would diverge again: they are only run with `force` or `diverged_again`. With `bases`, the
    configurations that the trials vary, done trials that shall be trained longer run too.

    Raises:
        UserError: Slurm can't be asked what is queued.
    """
    states = settled_states(sweep, [trial.name for trial in trials], record.listed)
    to_run, under_way, done, diverged = [], [], [], []
    for trial in trials:
        state = states[trial.name].state
        if state in UNDER_WAY:
            under_way.append(trial.name)
        elif state == "done" and not force and not (bases and _grows(sweep, trial, bases)):
            done.append(trial.name)
        elif state == "diverged" and not (force or diverged_again):
            diverged.append(trial.name)
        else:
            to_run.append(trial)
    return TrialSelection(to_run, under_way, done, diverged)


def _grows(sweep: Path, trial: Trial, bases: Mapping[str, Base]) -> bool:
    """Whether a trial shall be trained longer than it was."""
    train = read_record(trial_dir(sweep, trial.name), "train")
    asked = {key: value_at(bases[trial.config], trial.changes, key) for key in LONGER}
    return train is not None and bool(lags_behind(trained_length({"train": train}), asked))


def plan_and_check(
    sweep: Path, trials: Sequence[Trial], bases: Mapping[str, Base], options: SweepOptions
) -> list[Batch]:
    """As `plan_checked`, and ask Slurm whether it would take the jobs.

    Raises:
        UserError: a contradiction, a missing input, or Slurm would refuse.
    """
    batches = plan_checked(sweep, trials, bases, options)
    submitted = [batch for batch in batches if batch.on_slurm]
    if submitted:
        first = submitted[0].trials[0]
        config = build_trial_config(
            sweep, first, bases[first.config], first.name, trial_dir(sweep, first.name)
        )
        check_before_queueing(config, Screen())
        check_parts(sweep, [arrays_of(batch, bases)[0] for batch in submitted], "espnet3")
    return batches


def plan_checked(
    sweep: Path, trials: Sequence[Trial], bases: Mapping[str, Base], options: SweepOptions
) -> list[Batch]:
    """Plan the batches of trials, and check them before anything is started.

    Raises:
        UserError: a contradiction, or a missing input.
    """
    batches = plan_batches(sweep, trials, bases, options.stages, options.allocation) if trials else []
    for batch in batches:
        if options.detach and not batch.on_slurm:
            raise UserError(
                f"--detach: trials run here (launcher={batch.main.launcher}); only those on Slurm go on by"
                " themselves: give launcher=slurm"
            )
        per_job = _settings(batch, bases)["trials_per_job"]
        if per_job > 1 and batch.main.launcher == "allocation":
            raise UserError(
                f"sweep.trials_per_job={per_job}: trials share jobs that are submitted, and these run in the"
                " current allocation: leave it out; sweep.max_parallel=N runs several at once"
            )
        _check_inputs(sweep, batch, bases, options.stages)
    return batches


def start(
    sweep: Path, batches: Sequence[Batch], bases: Mapping[str, Base], options: SweepOptions, screen: Screen
) -> StartResult:
    """Submit the trials for Slurm, then run the local ones to their end; the caller holds the sweep.

    Raises:
        UserError: Slurm refuses, or does not answer; jobs queued before that stay queued.
    """
    waiting: list[WaitingArray] = []
    batches = list(batches)
    for number, batch in enumerate(batches):
        after: list[str] = []
        if batch.shared is not None:
            base = bases[batch.shared.trial.config]
            command = [options.command]
            code, after = run_shared(
                sweep, batch.shared, base, force=options.force, command=command, screen=screen
            )
            if code:
                alone = each_by_itself(sweep, batch, base, screen) if code == EXIT_CODES["failed"] else None
                if alone is None:
                    return StartResult(code)
                batches[number] = alone
        if batch.on_slurm:
            waiting += waiting_arrays(batch, bases, after)
    queued = submit_some(sweep, waiting, force=options.force, command=[options.command], screen=screen)
    local = [batch for batch in batches if not batch.on_slurm]
    if not local:
        return StartResult(None, queued)
    trials = [trial for batch in local for trial in LocalTrial.all_of(batch)]
    settings = _settings(local[0], bases)
    record = read_sweep_status(sweep, names=[]).record
    with Tracker(screen, [trial.name for trial in trials], record.objective) as tracker:
        code = run_local_trials(
            sweep,
            trials,
            tracker,
            at_once=settings["max_parallel"] or 1,
            force=options.force,
            command=options.command,
        )
    return StartResult(code or None, queued)


def finish(
    sweep: Path, selection: TrialSelection, started: StartResult, options: SweepOptions, screen: Screen
) -> int:
    """Follow the trials on Slurm, submit the remaining ones, show the table; returns the exit code."""
    queued, under_way = started.queued, [*selection.under_way, *started.queued.names]
    if options.detach:
        screen.line(f"queued: {', '.join(queued.arrays) or 'nothing new'}")
        if queued.waiting:
            left = counted(queued.left, "trial")
            is_behind = any(array.after for array in queued.waiting)
            others = "trials that end" if under_way else "the stages that they share" if is_behind else ""
            by = others or f"`espnet3 resume {command_path(sweep)}`"
            screen.line(f"waiting for room: {left}, submitted by {by}")
        print_commands(sweep, screen)
        return 0
    if started.code is not None:
        for line in sweep_table(read_sweep_status(sweep), screen.width):
            screen.styled(line)
        return started.code
    return follow(sweep, under_way, screen, names=selection.names)


def follow(
    sweep: Path,
    under_way: Sequence[str],
    screen: Screen,
    *,
    names: Sequence[str] | None = None,
    show: bool = True,
) -> int:
    """Show trials until they have ended, or Ctrl-C; then, with `show`, the table of all.

    Trials that wait for room in Slurm's queue are followed, too, and submitted as others end.

    Args:
        sweep: its directory.
        under_way: the trials to wait for.
        screen: where progress is shown.
        names: trials that decide the exit code; None: all except those of an older configuration.
    """
    unfinished = list(dict.fromkeys([*under_way, *waiting_trials(sweep)]))
    if unfinished:
        record = read_sweep_status(sweep, names=[]).record
        try:
            with Tracker(screen, unfinished, record.objective) as tracker:
                while unfinished:
                    unfinished = _follow_some(sweep, unfinished, tracker, screen)
        except KeyboardInterrupt:
            screen.line("detached: the trials go on")
            print_commands(sweep, screen)
            return DETACHED_BY_CTRL_C
    status = read_sweep_status(sweep)
    for line in sweep_table(status, screen.width) if show else ():
        screen.styled(line)
    considered = (
        set(names) if names is not None else {row.name for row in status.rows if not row.listed.older}
    )
    states = {row.state.state for row in status.rows if row.name in considered}
    return exit_code_of_all(states)


def _follow_some(sweep: Path, names: Sequence[str], tracker: Tracker, screen: Screen) -> list[str]:
    """Follow trials; if others wait for room, until one has ended. Returns those that have not ended."""
    waiting = set(waiting_trials(sweep))
    submitted = [name for name in names if name not in waiting]
    ended = watch_trials(sweep, submitted, tracker, screen, until_first_end=bool(waiting))
    if waiting:
        if not submitted:
            time.sleep(_RESUBMIT_EVERY_S)
        with hold_directory(sweep, screen, wait=True):
            submit_waiting(sweep, screen)
    return [name for name in names if name not in ended]


def _settings(batch: Batch, bases: Mapping[str, Base]) -> dict[str, Any]:
    settings: dict[str, Any] = bases[batch.trials[0].config]["sweep"]
    return settings


def _check_inputs(sweep: Path, batch: Batch, bases: Mapping[str, Base], stages: Sequence[str]) -> None:
    """Check what trials are made of, and the inputs of the first stage, which are the same for all."""
    needs_training = "training" in STAGES[stages[0]].reads
    for trial in batch.trials if needs_training else ():
        exp_dir = trial_dir(sweep, trial.name)
        if not (exp_dir / "stages" / "train.json").exists():
            raise UserError(f"trial {trial.name} has no training: {label('train')} makes one, use --stage 2")
    first = batch.trials[0]
    config = build_trial_config(sweep, first, bases[first.config], first.name, trial_dir(sweep, first.name))
    check_targets(sweep, batch.trials, bases)
    check_inputs(config, list(stages))
