"""Dispatch jobs by launcher: run those of this machine, submit and follow those of Slurm."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from espnet3.errors import UserError
from espnet3.launcher.attempt.data_check import check_before_queueing, check_imports, reads_data
from espnet3.launcher.attempt.run_stage import RunOptions, say_skipped
from espnet3.launcher.attempt.run_stages import check_before, run_in_turn, show_metrics
from espnet3.launcher.follow.jobs import detached, print_how_to_follow, watch
from espnet3.launcher.planning.claims import hold_for_command
from espnet3.launcher.planning.decide import decide
from espnet3.launcher.planning.plan import Job, on_slurm
from espnet3.launcher.submit.chain import submit_chain, submitting, try_out_chain
from espnet3.launcher.submit.queued import refuse_if_queued
from espnet3.outcomes.exit_code import exit_code
from espnet3.rundir.layout import stage_home
from espnet3.rundir.records.record import read_record
from espnet3.slurm.own_job import own_slurm_job_id
from espnet3.stage_table import label
from espnet3.terminal.screen import Screen

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle


def dispatch(
    jobs: Sequence[Job], config: DictConfig, *, force: bool, detach: bool, command: list[str], screen: Screen
) -> int:
    """Run or submit `jobs` in order until one does not end as done; returns the exit code.

    Raises:
        UserError: a check failed before anything was started.
    """
    check_command(jobs, config, force=force, detach=detach)
    check_early(jobs, config, force=force, screen=screen)
    if any(job.launcher == "allocation" for job in jobs):
        screen.line(f"launcher=allocation: runs inside Slurm job {own_slurm_job_id()}")
    exp_dir = Path(config.exp_dir)
    run_options = RunOptions(screen=screen, command=command, force=force)
    for slurm, group in groupby(jobs, key=on_slurm):
        group_jobs = list(group)
        with hold_for_command(exp_dir, screen):
            if slurm:
                with submitting(exp_dir, screen):
                    refuse_if_queued(exp_dir)
                    chain = submit_undone(group_jobs, config, force=force, command=command, screen=screen)
            else:
                refuse_if_queued(exp_dir)
                result = run_in_turn(group_jobs, config, run_options)
        if slurm:
            # From now on the jobs hold the run directory.
            if not chain:
                continue
            if detach and group_jobs[-1] is jobs[-1]:
                print_how_to_follow(chain, exp_dir, screen)
                return 0
            try:
                result = watch(chain, exp_dir, screen)
            except KeyboardInterrupt:
                return detached(chain, exp_dir, screen)
        if result is None or result.outcome != "done":
            return exit_code(result)
    show_metrics(exp_dir, stage_home(config, jobs[-1].stage), jobs[-1].stage, screen)
    return 0


def check_command(jobs: Sequence[Job], config: DictConfig, *, force: bool, detach: bool) -> None:
    """Check what can be known before anything is started.

    Raises:
        UserError: nothing was started.
    """
    if detach and not on_slurm(jobs[-1]):
        raise UserError(
            f"--detach: {label(jobs[-1].stage)} runs here (launcher={jobs[-1].launcher}); only jobs on Slurm"
            " go on by themselves: give launcher=slurm"
        )
    check_before(jobs, config, force=force)


def check_early(jobs: Sequence[Job], config: DictConfig, *, force: bool, screen: Screen) -> None:
    """Check, within seconds, what would end a later stage: before jobs are queued, and before stage 0.

    Raises:
        UserError: something can't be imported, a manifest is broken, or Slurm would refuse a later job.
    """
    submitted = [job for job in jobs if on_slurm(job)]
    if submitted and submitted[0] is not jobs[0]:
        decision = decide(config, jobs[0].stage, force=force)
        if decision.action != "skip":  # otherwise they are submitted next
            try_out_chain(submitted, config)
    if submitted:
        if any(reads_data(job.stage) for job in jobs):
            check_before_queueing(config, screen)
    elif any(reads_data(job.stage) for job in jobs[1:]) and not reads_data(jobs[0].stage):
        decision = decide(config, jobs[0].stage, force=force)
        if decision.action != "skip":  # otherwise its successors are checked next
            check_imports(config, screen)


def submit_undone(
    jobs: Sequence[Job], config: DictConfig, *, force: bool, command: list[str], screen: Screen
) -> "list[JobHandle]":
    """Submit `jobs` from the first that is not done already."""
    waiting = list(jobs)
    while waiting and decide(config, waiting[0].stage, force=force).action == "skip":
        job = waiting.pop(0)
        say_skipped(job.stage, read_record(stage_home(config, job.stage), job.stage), screen)
    if not waiting:
        return []
    chain = submit_chain(waiting, config, force=[force] * len(waiting), command=command)
    for handle in chain:
        screen.line(f"{label(handle.stage)}: submitted as job {handle.job_id}")
    return chain
