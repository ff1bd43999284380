"""Run the trials of a Hydra sweeper as an espnet3 sweep, for the launcher `espnet3`."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException

from espnet3.__main__ import exiting
from espnet3.api.command import Command
from espnet3.config.compose import find_recipe
from espnet3.config.overrides import parse_overrides
from espnet3.hydra_app.trial import is_application_key
from espnet3.slurm.allocation import read_allocation
from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.command import plan_sweep, run_sweep, sweep_directory
from espnet3.sweep.run import SweepOptions
from espnet3.sweep.show.results import TrialRow, read_sweep_status
from espnet3.sweep.trials.expand import Expansion, expand_trials
from espnet3.terminal.screen import Screen


def launch(
    recipe_dir: str,
    swept: Sequence[str],
    trials: Sequence[Sequence[str]],
    *,
    stages: Sequence[str],
    command: str,
    force: bool,
    detach: bool,
) -> list[JobReturn]:
    """Run trials to their end; with `detach` only submit them.

    Args:
        recipe_dir: the recipe's folder.
        swept: the overrides of the multirun; those with several values name the swept keys.
        trials: the overrides of each trial.
        stages: the stages of each trial.
        command: the command line.
        force: run finished trials again.
        detach: return when the trials are submitted.

    Returns:
        One per trial, with its objective; empty with `detach`.

    Raises:
        SystemExit: a reported mistake of the user, or the trials were stopped or detached from.
    """
    recipe, allocation = find_recipe(Path(recipe_dir)), read_allocation(os.environ)
    single = Command(recipe.directory, stage=stages[0], stop_stage=stages[-1])
    options = SweepOptions(list(stages), command, force, detach, allocation)
    returns: list[JobReturn] = []

    def run() -> int:
        overrides = [[word for word in trial if not is_application_key(word)] for trial in trials]
        expansion = expand_trials(recipe, overrides, allocation, keys=_swept_keys(swept))
        sweep = sweep_directory(expansion)
        plan = partial(plan_sweep, expansion, stages, command, partial(single.single_trial, expansion.fixed))
        code = run_sweep(plan, sweep, options, Screen())
        if not detach:
            returns.extend(_returns(sweep, expansion, trials))
        return code

    code = exiting(run)
    if code not in (0, 1):
        sys.exit(code)
    return returns


def _swept_keys(swept: Sequence[str]) -> list[str]:
    parsed = parse_overrides([word for word in swept if not is_application_key(word)], several=True)
    return [override.key_or_group for override in parsed if override.is_sweep_override()]


def _returns(sweep: Path, expansion: Expansion, trials: Sequence[Sequence[str]]) -> list[JobReturn]:
    rows = {row.listed.digest: row for row in read_sweep_status(sweep, queue=QueueSnapshot()).rows}
    return [
        _return(rows[digest], overrides) for digest, overrides in zip(expansion.digests, trials, strict=True)
    ]


def _return(row: TrialRow, overrides: Sequence[str]) -> JobReturn:
    returned = JobReturn(list(overrides))
    if row.state.state == "done":
        returned.status, returned.return_value = JobStatus.COMPLETED, row.objective
    else:
        error = CompactHydraException(f"trial {row.name} is {row.state.state}: {row.state.message}")
        returned.status, returned.return_value = JobStatus.FAILED, error
    return returned
