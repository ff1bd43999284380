"""Trials of a sweep that a launcher of Hydra's runs: written down first, then each found by its overrides."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.errors import CompactHydraException
from omegaconf import OmegaConf

from espnet3.config.compose import Recipe, find_recipe
from espnet3.errors import UserError, short_path
from espnet3.launcher.attempt.run_stage import RunOptions
from espnet3.launcher.attempt.run_stages import run_in_turn
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.planning.plan import plan
from espnet3.launcher.rank.interrupts import StopSignals
from espnet3.outcomes.exit_code import exit_code
from espnet3.slurm.allocation import Allocation, in_step, read_allocation
from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.command import plan_sweep, record_sweep, sweep_directory
from espnet3.sweep.show.results import read_sweep_status
from espnet3.sweep.trials.expand import Expansion, expand_trials
from espnet3.sweep.trials.folder import trial_dir
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.sweep.trials.trial import read_trial, trial_config
from espnet3.terminal.screen import Screen

OURS = ("recipe_dir", "hydra")
"""Keys of overrides that say nothing about a trial."""


class TrialFailed(CompactHydraException):
    """What Hydra is told of a trial that did not end as done."""


def write_down(
    expansion: Expansion,
    overrides: Sequence[str],
    stages: Sequence[str],
    command: str,
    single_trial_command: Callable[[Sequence[str], Recipe, str, Sequence[str]], str],
) -> None:
    """Make or extend a sweep, without running a trial.

    Args:
        expansion: what it asks for.
        overrides: the same as it was typed.
        stages: what each trial runs.
        command: as it was typed.
        alone: makes the command that makes a trial alone, of fixed overrides, recipe, name, own overrides.

    Raises:
        UserError: for what can be known before anything is started.
    """
    submits = next((word for word in overrides if word.startswith("launcher=")), None)
    if submits is not None:
        raise UserError(f"{submits}: Hydra's launcher says where trials run: leave {submits} out")
    own = partial(single_trial_command, expansion.fixed, expansion.recipe)
    make = partial(plan_sweep, expansion, stages, command, own)
    record_sweep(make, sweep_directory(expansion), Screen())


def run_trial(recipe_dir: Path, stages: Sequence[str], command: str, *, force: bool) -> float | None:
    """Run the trial that the current job of Hydra's is, in this process's allocation or on this machine.

    The first task of a job does so for all of them, and starts the ranks itself.

    Returns:
        Its objective, where it has one.

    Raises:
        TrialFailed: it did; the message is its reason.
        SystemExit: it was asked to stop.
    """
    from hydra.core.hydra_config import HydraConfig

    if in_step(os.environ) and os.environ.get("SLURM_PROCID", "0") != "0":
        return None
    recipe = find_recipe(recipe_dir)
    asked: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    own = [str(word) for word in asked if not is_ours(str(word))]
    expansion = expand_trials(recipe, [own])
    sweep = sweep_directory(expansion)
    name = _name_of(sweep, expansion.digests[0], own)
    trial = read_trial(sweep, name)
    if trial is None:
        raise UserError(f"trial {name} of {short_path(sweep)} is gone")
    config = trial_config(sweep, trial)
    allocation = _allocation()
    for stage in stages:
        config.resources[stage].launcher = "allocation" if allocation else "local"
    screen = Screen()
    run_options = RunOptions(
        screen=screen, command=[command], force=force, interrupts=partial(StopSignals, insistent=False)
    )
    with hold_directory(trial_dir(sweep, name), screen, wait=False):
        end = run_in_turn(plan(config, stages, allocation), config, run_options)
    if end is None or end.outcome == "stopped":
        raise SystemExit(exit_code(end))
    if end.outcome != "done":
        raise TrialFailed(f"trial {name} {end.outcome}: {end.reason or exit_code(end)}")
    (row,) = read_sweep_status(sweep, names=[name], queue=QueueSnapshot()).rows
    return row.objective


def _allocation() -> Allocation | None:
    """The one we are in; that srun has started this process on each of its nodes is as it should be."""
    allocation = read_allocation(os.environ)
    return replace(allocation, tasks_of_this_step=1) if allocation else None


def _name_of(sweep: Path, digest: str, overrides: Sequence[str]) -> str:
    record = read_sweep_record(sweep)
    for name, listed in record.listed.items() if record else ():
        if listed.digest == digest:
            return name
    raise UserError(
        f"{' '.join(overrides)} is no trial of {short_path(sweep)}: the configuration or the code of the"
        " recipe has changed since; start again"
    )


def is_ours(word: str) -> bool:
    """Whether an override is Hydra's or the application's, and says nothing about a trial."""
    return word.partition("=")[0].lstrip("+~").replace("/", ".").split(".")[0] in OURS
