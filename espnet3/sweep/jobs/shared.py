"""Runs the shared stages of trials on this machine, or submits them as jobs that the trials depend on."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from espnet3.launcher.attempt.data_check import reads_data
from espnet3.launcher.dispatch import dispatch, submit_undone
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.planning.decide import decide
from espnet3.launcher.planning.plan import Job, on_slurm
from espnet3.launcher.submit.chain import submitting
from espnet3.launcher.submit.queued import find_queued
from espnet3.stage_table import label
from espnet3.sweep.jobs.plan import Batch, SharedStages
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


def each_by_itself(sweep: Path, batch: Batch, base: Base, screen: Screen) -> Batch | None:
    """`batch` after shared stages failed here, whose trials run the stage that failed by themselves.

    The first trial that succeeds with it does it for all.

    Returns:
        None if it would fail for every trial: only a stage that reads data also builds the model, which
        trials may vary without another result of the stage.
    """
    shared = batch.shared
    assert shared is not None
    config = build_trial_config(sweep, shared.trial, base, shared.name, shared_dir(sweep, shared.name))
    unfinished = [job for job in shared.jobs if decide(config, job.stage).action != "skip"]
    if batch.on_slurm or not unfinished or not reads_data(unfinished[0].stage):
        return None
    failed = label(unfinished[0].stage)
    screen.line(f"{failed} failed with the values of trial {shared.trial.name}: each trial runs it by itself")
    return replace(batch, jobs=(*unfinished, *batch.jobs))


def split(jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """Split off the Slurm jobs at the end: trials can depend on them; the jobs before must finish first."""
    count = len(list(takewhile(on_slurm, reversed(jobs))))
    return list(jobs[: len(jobs) - count]), list(jobs[len(jobs) - count :])
