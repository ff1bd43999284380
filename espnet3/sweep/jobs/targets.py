"""Checks what the trials of a sweep are made of: each different set of classes and arguments, once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet3.config.checks.targets.exist import check_targets_exist
from espnet3.errors import UserError
from espnet3.sweep.trials.folder import trial_dir
from espnet3.sweep.trials.trial import Base, Trial, build_trial_config, flatten_changes


def check_targets(sweep: Path, trials: Sequence[Trial], bases: Mapping[str, Base]) -> None:
    """Check every `_target_` of all `trials`; trials that differ in other values only are checked once.

    Raises:
        UserError: naming a trial, the key and the reason.
    """
    for trial in with_different_targets(trials):
        config = build_trial_config(
            sweep, trial, bases[trial.config], trial.name, trial_dir(sweep, trial.name)
        )
        try:
            check_targets_exist(config)
        except UserError as error:
            where = f"trial {trial.name}: " if len(trials) > 1 else ""
            raise UserError(f"{where}{error}") from error


def with_different_targets(trials: Sequence[Trial]) -> list[Trial]:
    """The first of `trials` with each set of classes and of their arguments' names."""
    first: dict[tuple[str, frozenset[str], frozenset[tuple[str, str]]], Trial] = {}
    for trial in trials:
        flat = flatten_changes(trial)
        targets = {(key, str(value)) for key, value in flat.items() if key.endswith("._target_")}
        first.setdefault((trial.config, frozenset(flat), frozenset(targets)), trial)
    return list(first.values())
