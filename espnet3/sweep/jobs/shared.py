"""Runs the shared stages of trials on this machine, or submits them as jobs that the trials depend on."""

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
    """Run the stages that run on this machine, and submit the others.

    Returns:
        An exit code, and ids of jobs that the trials depend on.

    Raises:
        UserError: an input is missing, or Slurm refuses.
    """
    exp_dir = shared_dir(sweep, shared.name)
    config = build_trial_config(sweep, shared.trial, base, shared.name, exp_dir)
    queued = find_queued(exp_dir)
    if queued:
        return 0, [queued[-1].job_id]
    local, on_cluster = split(shared.jobs)
    if local:
        code = dispatch(local, config, force=force, detach=False, command=command, screen=screen)
        if code:
            return code, []
    if not on_cluster:
        return 0, []
    with hold_directory(exp_dir, screen, wait=False), submitting(exp_dir, screen):
        chain = submit_undone(on_cluster, config, force=force, command=command, screen=screen)
    return 0, [chain[-1].job_id] if chain else []


def split(jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """Split off the Slurm jobs at the end: trials can depend on them; the jobs before must finish first."""
    count = len(list(takewhile(on_slurm, reversed(jobs))))
    return list(jobs[: len(jobs) - count]), list(jobs[len(jobs) - count :])
