"""What our launcher in Hydra does: it runs the trials that a sweeper asks for as a sweep of ours."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException

from espnet3.__main__ import exiting
from espnet3.commands.run import alone
from espnet3.config.allocation import read_allocation
from espnet3.config.compose import find_recipe
from espnet3.config.overrides import parse_overrides
from espnet3.hydra_app.trial import is_ours
from espnet3.launch.screen import Screen
from espnet3.launch.tell.snapshot import Snapshot
from espnet3.sweep.command import plan_sweep, run_sweep, sweep_directory
from espnet3.sweep.expand import Expansion, expand_trials
from espnet3.sweep.results import TrialRow, look_at_sweep
from espnet3.sweep.run import Asked


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
    """Run trials to their end, or with `detach` only submit them.

    Args:
        recipe_dir: the recipe's folder.
        swept: the overrides of the multirun: those of several values say which keys are swept.
        trials: the overrides of each trial.
        stages: what each runs.
        command: as it was typed.
        force: run those too that are done.
        detach: return when they are submitted.

    Returns:
        One for each trial, with its objective; none with `detach`.

    Raises:
        SystemExit: a mistake of the user's, which was told; or the trials were stopped or left alone.
    """
    recipe, allocation = find_recipe(Path(recipe_dir)), read_allocation(os.environ)
    single = argparse.Namespace(stage=stages[0], stop_stage=stages[-1])
    asked = Asked(list(stages), command, force, detach, allocation)
    found: list[JobReturn] = []

    def run() -> int:
        own = [[word for word in trial if not is_ours(word)] for trial in trials]
        expansion = expand_trials(recipe, own, allocation, keys=_keys(swept))
        sweep = sweep_directory(expansion)
        make = partial(
            plan_sweep, expansion, stages, command, partial(alone, single, expansion.fixed, recipe)
        )
        code = run_sweep(make, sweep, asked, Screen())
        if not detach:
            found.extend(_returns(sweep, expansion, trials))
        return code

    code = exiting(run)
    if code not in (0, 1):
        sys.exit(code)
    return found


def _keys(swept: Sequence[str]) -> list[str]:
    parsed = parse_overrides([word for word in swept if not is_ours(word)], several=True)
    return [override.key_or_group for override in parsed if override.is_sweep_override()]


def _returns(sweep: Path, expansion: Expansion, trials: Sequence[Sequence[str]]) -> list[JobReturn]:
    rows = {row.listed.digest: row for row in look_at_sweep(sweep, queue=Snapshot()).rows}
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
