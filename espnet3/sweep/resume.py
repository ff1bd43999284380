"""`espnet3 resume` of a sweep: run those trials that are missing or did not end as done, as planned."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from espnet3.errors import UserError, short_path
from espnet3.launcher.planning.claims import hold_directory
from espnet3.slurm.allocation import Allocation
from espnet3.sweep.run import SweepOptions, choose, finish, plan_and_check, start
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.sweep.trials.trial import read_base, read_trial
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
    """Run what is left; never what is done, or under way. Trials of an older configuration are left alone.

    Args:
        sweep: its directory.
        screen: where it is shown.
        names: trials to resume; None: all.
        detach: submit, say how to follow, and return.
        command: what the user had typed.
        allocation: the one this process is in.

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
        wanted = [name for name, one in listed.items() if not one.older] if names is None else list(names)
        found = [read_trial(sweep, name) for name in wanted]
        trials = [trial for trial in found if trial is not None]
        for name, trial in zip(wanted, found, strict=True):
            if trial is None:
                screen.line(f"trial {name}: its folder is gone; the command that made it makes it again")
        bases = {name: read_base(sweep, name) for name in sorted({trial.config for trial in trials})}
        chosen = choose(sweep, trials, record, force=False)
        asked = SweepOptions([], command, detach=detach, allocation=allocation)
        batches = []
        for stages in dict.fromkeys(tuple(listed[trial.name].stages) for trial in chosen.to_run):
            same = [trial for trial in chosen.to_run if tuple(listed[trial.name].stages) == stages]
            batches += plan_and_check(sweep, same, bases, replace(asked, stages=list(stages)))
        screen.line(f"{short_path(sweep)}: {chosen}")
        started = start(sweep, batches, bases, asked, screen)
    return finish(sweep, chosen, started, asked, screen)
