"""`run.sh --multirun …`: create or extend a sweep, and run its unfinished trials."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from espnet3.config.fingerprint import changes, trial_part
from espnet3.config.flat import flatten
from espnet3.errors import short_path
from espnet3.launcher.planning.claims import hold_for_command
from espnet3.launcher.planning.plan import on_slurm
from espnet3.rundir.records.code import changed_code
from espnet3.rundir.records.record import briefly
from espnet3.sweep.jobs.plan import Batch
from espnet3.sweep.run import (
    StartResult,
    SweepOptions,
    TrialSelection,
    finish,
    plan_and_check,
    select_trials,
    start,
)
from espnet3.sweep.trials.expand import Expansion
from espnet3.sweep.trials.extend import ExtendedSweep, code_difference, extend
from espnet3.sweep.trials.objective import read_objective
from espnet3.sweep.trials.record import (
    SweepCommand,
    SweepRecord,
    read_code,
    read_sweep_record,
    write_diff,
    write_sweep_record,
)
from espnet3.sweep.trials.trial import (
    Base,
    Trial,
    base_name,
    flatten_changes,
    read_base,
    read_trial,
    value_at,
    write_base,
    write_trial,
)
from espnet3.sweep.trials.value_text import same_numbers
from espnet3.sweep.trials.waiting import note_waiting
from espnet3.terminal.screen import Screen


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep as a command would create or extend it; nothing is written yet."""

    sweep: Path
    before: SweepRecord | None
    extended: ExtendedSweep
    command: SweepCommand
    bases: dict[str, Base]
    diff: str
    """Uncommitted changes of the working tree."""
    points: int
    """Number of points of the grid."""

    @property
    def trials(self) -> list[Trial]:
        """The trials that the command asks for."""
        return self.extended.trials


def sweep_settings(expansion: Expansion) -> DictConfig:
    """The configuration with the settings of the sweep: the first trial's."""
    config = OmegaConf.create(expansion.bases[0])
    assert isinstance(config, DictConfig)
    return config


def sweep_directory(expansion: Expansion) -> Path:
    """The directory of the sweep."""
    return Path(sweep_settings(expansion).sweep.dir).resolve()


def plan_sweep(
    expansion: Expansion,
    stages: Sequence[str],
    command: str,
    single_trial_command: Callable[[str, Sequence[str]], str],
) -> PlannedSweep:
    """Merge the trials of a command with the sweep, if it exists; only reads.

    Args:
        expansion: the trials that the command asks for.
        stages: the stages of each trial.
        command: the command line.
        single_trial_command: maps a name and overrides to the command that runs that trial alone.

    Raises:
        UserError: the sweep's record can't be read, or the objective has no direction.
    """
    config, sweep = sweep_settings(expansion), sweep_directory(expansion)
    before = read_sweep_record(sweep)
    code, diff = read_code(expansion.recipe.directory)
    sweep_command = SweepCommand(command, expansion.keys, list(stages), asdict(code))
    names = [base_name(base) for base in expansion.bases]
    extended = extend(
        before,
        expansion,
        sweep_command,
        read_objective(config),
        names,
        single_trial_command,
        partial(_read_values, sweep),
    )
    bases = dict(zip(names, expansion.bases, strict=True))
    return PlannedSweep(sweep, before, extended, sweep_command, bases, diff, len(expansion.digests))


@dataclass(frozen=True)
class CheckedSweep:
    """A planned sweep whose unfinished trials were checked; nothing is written yet."""

    planned: PlannedSweep
    selection: TrialSelection
    batches: list[Batch]

    @property
    def all_on_slurm(self) -> bool:
        """Whether every trial, and every stage that trials share, is submitted."""
        shared = [job for batch in self.batches if batch.shared for job in batch.shared.jobs]
        return all(on_slurm(job) for job in (*shared, *(job for batch in self.batches for job in batch.jobs)))


def run_sweep(
    plan: Callable[[], PlannedSweep], directory: Path, options: SweepOptions, screen: Screen
) -> int:
    """Write the sweep's files, and run its unfinished trials; returns the exit code.

    Args:
        plan: plans the sweep; called while this process holds it.
        directory: the sweep directory.
        options: how to run the trials.
        screen: where progress is shown.

    Raises:
        UserError: for what can be known before anything is started.
    """
    with hold_for_command(directory, screen):
        checked = check_sweep(plan, options)
        started = start_sweep(checked, options, screen)
    return finish(directory, checked.selection, started, options, screen)


def check_sweep(plan: Callable[[], PlannedSweep], options: SweepOptions) -> CheckedSweep:
    """Plan a sweep, and check its unfinished trials; the caller holds the sweep.

    Raises:
        UserError: for what can be known before anything is started.
    """
    planned = plan()
    selection = select_trials(
        planned.sweep, planned.trials, planned.extended.record, force=options.force, bases=planned.bases
    )
    return CheckedSweep(
        planned, selection, plan_and_check(planned.sweep, selection.to_run, planned.bases, options)
    )


def start_sweep(checked: CheckedSweep, options: SweepOptions, screen: Screen) -> StartResult:
    """Write the sweep's files, submit the trials for Slurm and run the others; the caller holds the sweep.

    Raises:
        UserError: Slurm refuses, or does not answer.
    """
    planned, selection = checked.planned, checked.selection
    for line in messages(planned):
        screen.line(line)
    screen.line(f"{short_path(planned.sweep)}: {selection}")
    write_planned(planned, [trial.name for trial in selection.to_run])
    started = start(planned.sweep, checked.batches, planned.bases, options, screen)
    left = started.queued.left_names
    note_waiting(planned.sweep, left, of=selection.names, force=options.force, command=options.command)
    return started


def record_sweep(plan: Callable[[], PlannedSweep], directory: Path, screen: Screen) -> None:
    """As `run_sweep`, but only write the sweep's files: another launcher runs the trials.

    Raises:
        UserError: the sweep is in use by another command, or can't be written.
    """
    with hold_for_command(directory, screen):
        planned = plan()
        for line in messages(planned):
            screen.line(line)
        write_planned(planned, [trial.name for trial in planned.trials])


def write_planned(planned: PlannedSweep, names: Sequence[str]) -> None:
    """Write the sweep's files: the new trials and those in `names`, and last the record."""
    write_diff(planned.sweep, planned.command, planned.diff)
    to_write = {*names, *planned.extended.new}
    for base in planned.bases.values():
        write_base(planned.sweep, base)
    for trial in planned.trials:
        if trial.name in to_write:
            write_trial(planned.sweep, trial)
    write_sweep_record(planned.sweep, planned.extended.record)


def messages(planned: PlannedSweep) -> list[str]:
    """Lines to show the user about the trials of a command."""
    lines = []
    if planned.points > len(planned.trials):
        lines.append(f"{planned.points} points of the grid are {len(planned.trials)} different trials")
    lines += same_numbers([trial.values for trial in planned.trials])
    difference = code_difference(planned.before, planned.command)
    if difference:
        lines.append(f"this sweep was started with other code: {difference}")
    older = planned.extended.older
    if older:
        count = f"{len(older)} trials are" if len(older) > 1 else "1 trial is"
        lines.append(
            f"{count} of an older configuration: {older[0]}: {_describe_difference(planned, older[0])}"
        )
    return lines


def _read_values(sweep: Path, name: str, keys: Sequence[str]) -> dict[str, object]:
    """The values of an existing trial at some keys."""
    trial = read_trial(sweep, name)
    if trial is None:
        return {}
    base = read_base(sweep, trial.config)
    return {key: value_at(base, trial.changes, key) for key in keys}


def _describe_difference(planned: PlannedSweep, name: str) -> str:
    """How an older trial differs from the one with the same values now."""
    old = read_trial(planned.sweep, name)
    values = planned.extended.record.listed[name].values
    new = next((trial for trial in planned.trials if trial.values == values), None)
    if old is None or new is None:
        return "its folder is gone"
    recipe_dir = planned.extended.record.recipe
    parts = [
        trial_part(flatten(base) | flatten_changes(trial), recipe_dir)
        for trial, base in ((old, read_base(planned.sweep, old.config)), (new, planned.bases[new.config]))
    ]
    return briefly(changes(*parts) or changed_code(old.code, new.code) or ["the number of ranks"])
