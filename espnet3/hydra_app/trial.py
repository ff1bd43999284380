"""Trials that one of Hydra's launchers runs: recorded first, then each found by its overrides."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.errors import CompactHydraException
from omegaconf import OmegaConf

from espnet3.config.compose import find_recipe
from espnet3.errors import UserError, short_path
from espnet3.launcher.attempt.run_stage import RunOptions
from espnet3.launcher.attempt.run_stages import run_in_turn
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.planning.plan import plan
from espnet3.launcher.rank.interrupts import StopSignals
from espnet3.outcomes.exit_code import exit_code
from espnet3.slurm.allocation import Allocation, read_allocation
from espnet3.slurm.step import is_first_task
from espnet3.stage_table import LONGER
from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.command import plan_sweep, record_sweep, sweep_directory
from espnet3.sweep.show.results import read_sweep_status
from espnet3.sweep.trials.expand import Expansion, expand_trials
from espnet3.sweep.trials.folder import trial_dir
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.sweep.trials.trial import read_trial, trial_config
from espnet3.terminal.screen import Screen

APPLICATION_KEYS = ("recipe_dir", "hydra")
"""Keys of overrides that are not part of a trial's configuration."""


class TrialFailed(CompactHydraException):
    """Reports to Hydra that a trial did not end as done."""


def record_trials(
    expansion: Expansion,
    overrides: Sequence[str],
    stages: Sequence[str],
    command: str,
    single_trial_command: Callable[[Sequence[str], str, Sequence[str]], str],
) -> None:
    """Create or extend a sweep without running a trial.

    Args:
        expansion: the trials.
        overrides: the overrides of the command line.
        stages: the stages of each trial.
        command: the command line.
        single_trial_command: maps fixed overrides, name and overrides to a trial's own command.

    Raises:
        UserError: for what can be known before anything is started.
    """
    launcher = next((word for word in overrides if word.startswith("launcher=")), None)
    if launcher is not None:
        raise UserError(f"{launcher}: Hydra's launcher says where trials run: leave {launcher} out")
    trial_command = partial(single_trial_command, expansion.fixed)
    plan = partial(plan_sweep, expansion, stages, command, trial_command)
    record_sweep(plan, sweep_directory(expansion), Screen())


def run_trial(recipe_dir: Path, stages: Sequence[str], command: str, *, force: bool) -> float | None:
    """Run the trial of the current Hydra job, in this process's allocation or on this machine.

    The first task of a Slurm job runs it and starts the ranks; the other tasks return at once.

    Returns:
        Its objective, if it has one.

    Raises:
        TrialFailed: the trial failed; the message is the reason.
        SystemExit: it was asked to stop.
    """
    from hydra.core.hydra_config import HydraConfig

    if not is_first_task():
        return None
    recipe = find_recipe(recipe_dir)
    task_overrides: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    overrides = [str(word) for word in task_overrides if not is_application_key(str(word))]
    sweep = sweep_directory(expand_trials(recipe, [overrides]))
    record = read_sweep_record(sweep)
    given = {word.partition("=")[0].lstrip("+") for word in overrides}
    swept = [key for key in LONGER if key in given and record is not None and key in record.keys]
    expansion = expand_trials(recipe, [overrides], keys=swept)
    name = _name_of(sweep, expansion.digests[0], overrides)
    trial = read_trial(sweep, name)
    if trial is None:
        raise UserError(f"trial {name} of {short_path(sweep)} is gone")
    config = trial_config(sweep, trial)
    allocation = _allocation()
    for stage in stages:
        config.resources[stage].launcher = "allocation" if allocation else "local"
    screen = Screen()
    run_options = RunOptions(
        screen=screen,
        command=[command],
        force=force,
        interrupts=partial(StopSignals, second_ctrl_c_raises=False),
    )
    with hold_directory(trial_dir(sweep, name), screen, wait=False):
        result = run_in_turn(plan(config, stages, allocation), config, run_options)
    if result is None or result.outcome == "stopped":
        raise SystemExit(exit_code(result))
    if result.outcome != "done":
        raise TrialFailed(f"trial {name} {result.outcome}: {result.reason or exit_code(result)}")
    (row,) = read_sweep_status(sweep, names=[name], queue=QueueSnapshot()).rows
    return row.objective


def _allocation() -> Allocation | None:
    """The current allocation, as if this step had one task: srun starts this process on each node."""
    allocation = read_allocation(os.environ)
    return replace(allocation, tasks_of_this_step=1) if allocation else None


def _name_of(sweep: Path, digest: str, overrides: Sequence[str]) -> str:
    record = read_sweep_record(sweep)
    for name, listed in record.listed.items() if record else ():
        if listed.digest == digest:
            return name
    raise UserError(
        f"{' '.join(overrides)} is not a trial of {short_path(sweep)}: the configuration or the code of the"
        " recipe has changed since; start the multirun again"
    )


def is_application_key(word: str) -> bool:
    """Whether an override is for Hydra or the application, not part of a trial's configuration."""
    return word.partition("=")[0].lstrip("+~").replace("/", ".").split(".")[0] in APPLICATION_KEYS
