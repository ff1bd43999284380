"""`run.sh --multirun …`: make or extend a sweep, and run those of its trials that are not done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from espnet3.config.fingerprint import changes, trial_part
from espnet3.config.flat import flatten
from espnet3.errors import UserError, short_path
from espnet3.launcher.planning.claims import hold_directory
from espnet3.rundir.record import briefly, changed_code
from espnet3.sweep.run import SweepOptions, choose, finish, plan_and_check, start
from espnet3.sweep.trials.expand import Expansion
from espnet3.sweep.trials.extend import Extended, extend, other_code
from espnet3.sweep.trials.objective import read_objective
from espnet3.sweep.trials.record import (
    SweepCommand,
    SweepRecord,
    keep_diff,
    read_code,
    read_sweep_record,
    write_sweep_record,
)
from espnet3.sweep.trials.trial import (
    Base,
    Trial,
    base_name,
    read_base,
    read_trial,
    value_at,
    write_base,
    write_trial,
)
from espnet3.terminal.screen import Screen


@dataclass(frozen=True)
class PlannedSweep:
    """What a command makes of a sweep, before anything is written."""

    sweep: Path
    before: SweepRecord | None
    extended: Extended
    given: SweepCommand
    bases: dict[str, Base]
    diff: str
    """Of the working tree."""
    points: int
    """Of the grid."""

    @property
    def trials(self) -> list[Trial]:
        """What the command asks for."""
        return self.extended.trials


def sweep_settings(expansion: Expansion) -> DictConfig:
    """The configuration that says where the sweep is and how it is run: the first trial's."""
    config = OmegaConf.create(expansion.bases[0])
    assert isinstance(config, DictConfig)
    return config


def sweep_directory(expansion: Expansion) -> Path:
    """Where the sweep is, or will be."""
    return Path(sweep_settings(expansion).sweep.dir).resolve()


def plan_sweep(
    expansion: Expansion,
    stages: Sequence[str],
    command: str,
    single_trial_command: Callable[[str, Sequence[str]], str],
) -> PlannedSweep:
    """Merge what a command asks for with the sweep that may be there; only reads.

    Args:
        expansion: what it asks for.
        stages: what each trial runs.
        command: as it was typed.
        alone: from a trial's name and overrides to the command that makes it alone.

    Raises:
        UserError: the sweep's record can't be read, or the objective is not clear.
    """
    config, sweep = sweep_settings(expansion), sweep_directory(expansion)
    before = read_sweep_record(sweep)
    code, diff = read_code(expansion.recipe.directory)
    given = SweepCommand(command, expansion.keys, list(stages), asdict(code))
    names = [base_name(base) for base in expansion.bases]
    extended = extend(
        before,
        expansion,
        given,
        read_objective(config),
        names,
        single_trial_command,
        partial(_values_of, sweep),
    )
    bases = dict(zip(names, expansion.bases, strict=True))
    return PlannedSweep(sweep, before, extended, given, bases, diff, len(expansion.digests))


def run_sweep(make: Callable[[], PlannedSweep], directory: Path, asked: SweepOptions, screen: Screen) -> int:
    """Write down what the sweep is now, and run what is not done; returns the exit code.

    Args:
        make: plans the sweep, when nobody else changes it.
        directory: the sweep's.
        asked: how the trials are run.
        screen: where it is shown.

    Raises:
        UserError: for what can be known before anything is started.
    """
    with _alone_in(directory, screen):
        planned = make()
        chosen = choose(planned.sweep, planned.trials, planned.extended.record, force=asked.force)
        batches = plan_and_check(planned.sweep, chosen.to_run, planned.bases, asked)
        for line in messages(planned):
            screen.line(line)
        screen.line(f"{short_path(directory)}: {chosen}")
        write_planned(planned, [trial.name for trial in chosen.to_run])
        started = start(planned.sweep, batches, planned.bases, asked, screen)
    return finish(planned.sweep, chosen, started, asked, screen)


def record_sweep(make: Callable[[], PlannedSweep], directory: Path, screen: Screen) -> None:
    """As `run_sweep`, but only write down what the sweep is now: somebody else runs the trials.

    Raises:
        UserError: another command holds the sweep, or it can't be written.
    """
    with _alone_in(directory, screen):
        planned = make()
        for line in messages(planned):
            screen.line(line)
        write_planned(planned, [trial.name for trial in planned.trials])


def write_planned(planned: PlannedSweep, names: Sequence[str]) -> None:
    """Make the sweep's files, of trials the new ones and those in `names`; last the record of all."""
    keep_diff(planned.sweep, planned.given, planned.diff)
    wanted = {*names, *planned.extended.new}
    for base in planned.bases.values():
        write_base(planned.sweep, base)
    for trial in planned.trials:
        if trial.name in wanted:
            write_trial(planned.sweep, trial)
    write_sweep_record(planned.sweep, planned.extended.record)


def messages(planned: PlannedSweep) -> list[str]:
    """What is to be said about the trials a command asks for, in lines."""
    lines = []
    if planned.points > len(planned.trials):
        lines.append(f"{planned.points} points of the grid are {len(planned.trials)} different trials")
    other = other_code(planned.before, planned.given)
    if other:
        lines.append(f"this sweep was begun with other code: {other}")
    older = planned.extended.older
    if older:
        many = f"{len(older)} trials are" if len(older) > 1 else "1 trial is"
        lines.append(f"{many} of an older configuration: {older[0]}: {_difference(planned, older[0])}")
    return lines


def _values_of(sweep: Path, name: str, keys: Sequence[str]) -> dict[str, object]:
    """What a trial that is there has at some keys."""
    trial = read_trial(sweep, name)
    if trial is None:
        return {}
    base = read_base(sweep, trial.config)
    return {key: value_at(base, trial.changes, key) for key in keys}


def _difference(planned: PlannedSweep, name: str) -> str:
    """In what an older trial differs from the one that has its values now."""
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


def flatten_changes(trial: Trial) -> dict[str, object]:
    """What a trial changes, with dotted keys."""
    flat: dict[str, object] = {}
    for key, value in trial.changes.items():
        flat |= flatten(value, key)
    return flat


@contextmanager
def _alone_in(directory: Path, screen: Screen) -> Iterator[None]:
    """Hold the sweep's directory; one that was made for a command that was refused is taken away again."""
    was_there = directory.exists()
    try:
        with hold_directory(directory, screen, wait=False):
            yield
    except UserError:
        for empty in () if was_there else (directory, directory.parent, directory.parent.parent):
            with suppress(OSError):  # there is something in it
                empty.rmdir()
        raise
