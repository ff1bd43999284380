"""`espnet3 resume` of a sweep: run its unfinished trials with their recorded configurations."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from espnet3.errors import UserError, short_path
from espnet3.launcher.planning.claims import hold_directory
from espnet3.slurm.allocation import Allocation
from espnet3.sweep.run import SweepOptions, finish, plan_and_check, select_trials, start
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.sweep.trials.trial import read_base, read_trial
from espnet3.sweep.trials.waiting import note_waiting
from espnet3.terminal.screen import Screen


def resume_sweep(
    sweep: Path,
    screen: Screen,
    *,
    names: Sequence[str] | None = None,
    detach: bool,
    command: str,
    allocation: Allocation | None,
) -> int:
    """Run the trials that are neither done nor under way; by default, older ones are left out.

    Args:
        sweep: its directory.
        screen: where progress is shown.
        names: trials to resume; None: all.
        detach: submit, say how to follow, and return.
        command: the command line.
        allocation: the current one.

    Returns:
        The exit code.

    Raises:
        UserError: for what can be known before anything is started.
    """
    with hold_directory(sweep, screen, wait=False):
        record = read_sweep_record(sweep)
        if record is None:
            raise UserError(f"{short_path(sweep)} holds no sweep: it has no sweep.json")
        listed = record.listed
        to_resume = (
            [name for name, trial in listed.items() if not trial.older] if names is None else list(names)
        )
        read = [read_trial(sweep, name) for name in to_resume]
        trials = [trial for trial in read if trial is not None]
        for name, trial in zip(to_resume, read, strict=True):
            if trial is None:
                screen.line(f"trial {name}: its folder is gone; the command that created it creates it again")
        bases = {name: read_base(sweep, name) for name in sorted({trial.config for trial in trials})}
        selection = select_trials(sweep, trials, record, force=False, diverged_again=names is not None)
        options = SweepOptions([], command, detach=detach, allocation=allocation)
        batches = []
        for stages in dict.fromkeys(tuple(listed[trial.name].stages) for trial in selection.to_run):
            same = [trial for trial in selection.to_run if tuple(listed[trial.name].stages) == stages]
            batches += plan_and_check(sweep, same, bases, replace(options, stages=list(stages)))
        screen.line(f"{short_path(sweep)}: {selection}")
        started = start(sweep, batches, bases, options, screen)
        left = started.queued.left_names
        note_waiting(sweep, left, of=selection.names, force=False, command=command)
    return finish(sweep, selection, started, options, screen)
