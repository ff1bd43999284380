"""Stages that several trials need once: run here, or queued as jobs that the trials wait for."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from espnet3.launcher.dispatch import dispatch, submit_undone
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.planning.plan import Job, on_slurm
from espnet3.launcher.submit.chain import submitting
from espnet3.launcher.submit.queued import find_queued
from espnet3.sweep.jobs.plan import SharedStages
from espnet3.sweep.trials.folder import shared_dir
from espnet3.sweep.trials.trial import Base, build_trial_config
from espnet3.terminal.screen import Screen


def run_shared(
    sweep: Path, shared: SharedStages, base: Base, *, force: bool, command: list[str], screen: Screen
) -> tuple[int, list[str]]:
    """Run those of the stages that run here, and submit those that are left.

    Returns:
        An exit code, and ids of jobs that the trials wait for.

    Raises:
        UserError: an input is missing, or Slurm refuses.
    """
    exp_dir = shared_dir(sweep, shared.name)
    config = build_trial_config(sweep, shared.trial, base, shared.name, exp_dir)
    queued = find_queued(exp_dir)
    if queued:
        return 0, [queued[-1].job_id]
    here, there = split(shared.jobs)
    if here:
        code = dispatch(here, config, force=force, detach=False, command=command, screen=screen)
        if code:
            return code, []
    if not there:
        return 0, []
    with hold_directory(exp_dir, screen, wait=False), submitting(exp_dir, screen):
        chain = submit_undone(there, config, force=force, command=command, screen=screen)
    return 0, [chain[-1].job_id] if chain else []


def split(jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """Those at the end that are on Slurm can be waited for; those before them must be done first."""
    there = len(list(takewhile(on_slurm, reversed(jobs))))
    return list(jobs[: len(jobs) - there]), list(jobs[len(jobs) - there :])
