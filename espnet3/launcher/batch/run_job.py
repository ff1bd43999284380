"""The batch process of a submitted job, on its first node: runs the stage there and decides what follows."""

import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from espnet3.config.saved import read_config
from espnet3.errors import UserError
from espnet3.launcher.attempt.run_stage import RunOptions, StartStep
from espnet3.launcher.attempt.run_stages import run_in_turn
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.planning.plan import Job, main_job, plan
from espnet3.launcher.rank.interrupts import StopSignals
from espnet3.launcher.start.step import start_step
from espnet3.outcomes.attempt import aborted_result
from espnet3.outcomes.job import failed_result
from espnet3.outcomes.restart import (
    RestartDecision,
    attempts_without_progress,
    decide_restart,
    decide_unended,
    perhaps_preempted,
    preempted_attempts,
    result_without_progress,
    with_reason,
)
from espnet3.rundir.files.private import check_private
from espnet3.rundir.layout import stage_home
from espnet3.rundir.records.attempt import Attempt, AttemptResult, progress_mark, read_attempts
from espnet3.rundir.records.job import (
    CONFIG,
    SubmittedJob,
    duplicate_of,
    read_job,
    write_job_result,
)
from espnet3.slurm.accounting import states_by_start
from espnet3.slurm.own_job import own_slurm_job_id, requeue, stop_at, wait_for_slurm
from espnet3.terminal.screen import Screen

STOP_MARGIN_S = 15.0
"""A task that was asked to stop ahead of the time limit ends itself so long before it."""


def main(folder: str) -> int:
    """Run the job described in `folder`; returns the job's exit code, or does not, when it starts again."""
    screen = Screen()
    return leave(Path(folder), run_job(Path(folder), screen), screen)


def run_job(folder: Path, screen: Screen, start_step: StartStep = start_step) -> RestartDecision:
    """Run the job that `folder` describes; its result is written there, unless it waits or starts again."""
    try:
        decision = _run_job(folder, screen, start_step)
    except UserError as error:
        screen.line(str(error))
        decision = RestartDecision(failed_result(error))
    if decision.result is not None and decision.after == "exit":
        with suppress(OSError):  # the disk may be full, which is no new outcome
            write_job_result(folder, decision.result)
    return decision


def leave(folder: Path, decision: RestartDecision, screen: Screen) -> int:
    """Exit, wait or requeue the job in `folder`; returns this process's exit code, if Slurm lets it end."""
    job_id = own_slurm_job_id()
    if decision.after == "wait":
        # Slurm knows whether it was cancelled or preempted: no result is written into the job's folder.
        screen.line("waiting for Slurm to end this job")
        if not wait_for_slurm(job_id):
            decision = decide_unended(decision)
            screen.line(f"{'starts again' if decision.after == 'requeue' else 'ends'}: {decision.reason}")
            if decision.after == "exit":
                write_job_result(folder, decision.result)
    if decision.after == "requeue":
        try:
            requeue(job_id)
        except UserError as error:
            screen.line(str(error))
            write_job_result(folder, failed_result(error))
            return 1
    return decision.exit_code


def _run_job(folder: Path, screen: Screen, start_step: StartStep) -> RestartDecision:
    """As `run_job`.

    Raises:
        UserError: the folder can't be trusted, or the stage can't run.
    """
    check_private(folder)
    described = read_job(folder)
    assert described is not None, f"{folder} describes no job"
    config = read_config(folder / CONFIG)
    job_id = own_slurm_job_id()
    if other := duplicate_of(folder, job_id):
        screen.line(f"ends: {folder.name} was submitted twice, and is job {other}")
        return RestartDecision(None)
    write_job_result(folder, None)
    os.environ["ESPNET3_JOB"] = described.name  # commands inside know that this allocation is a job of ours
    jobs = plan(config, described.stages)
    main = main_job(jobs)
    earlier = _earlier(config, described)
    without_progress = attempts_without_progress(
        earlier, _progress(config, earlier), _preempted(job_id, earlier)
    )
    given_up = result_without_progress(
        main.stage, without_progress=without_progress, max_restarts=described.max_restarts
    )
    if given_up is not None:
        screen.line(f"not started again: {given_up.reason}")
        return RestartDecision(given_up)
    decisions: list[RestartDecision] = []
    run_options = RunOptions(
        screen=screen,
        command=described.command,
        force=described.force and not earlier,
        job=described.name,
        interrupts=partial(StopSignals, second_ctrl_c_raises=False),
        restarts=partial(_restarts, config, described, decisions, screen),
        start_step=start_step,
        stop_at=stop_at(main.resources.signal_delay_s),
        stop_within_s=max(5.0, main.resources.signal_delay_s - STOP_MARGIN_S),
        show_log=False,
    )
    with hold_directory(Path(config.exp_dir), screen, wait=True):
        result = run_in_turn(jobs, config, run_options) or aborted_result()
    last = decisions[-1] if decisions else RestartDecision(result)
    return RestartDecision(with_reason(result, last.reason), last.after)


def _restarts(
    config: DictConfig,
    described: SubmittedJob,
    decisions: list[RestartDecision],
    screen: Screen,
    job: Job,
    result: AttemptResult,
    progress_before: str,
) -> bool:
    """Decide what follows on the result of an attempt, and say so."""
    progress = progress_mark(stage_home(config, job.stage))
    earlier = _earlier(config, described)[:-1]
    without_progress = 0
    if progress == progress_before:
        job_id = own_slurm_job_id()
        without_progress = 1 + attempts_without_progress(earlier, progress, _preempted(job_id, earlier))
    decision = decide_restart(result, without_progress=without_progress, max_restarts=described.max_restarts)
    decisions.append(decision)
    if decision.after == "requeue":
        screen.line(f"starts again: {decision.reason}")
    elif decision.reason:
        screen.line(f"does not start again: {decision.reason}")
    return decision.after == "requeue"


def _earlier(config: DictConfig, described: SubmittedJob) -> list[Attempt]:
    attempts = read_attempts(Path(config.exp_dir))
    return [attempt for attempt in attempts if attempt.begin.job == described.name]


def _progress(config: DictConfig, attempts: list[Attempt]) -> str:
    """`progress_mark` of now, where the last of `attempts` made its own."""
    return progress_mark(stage_home(config, attempts[-1].begin.stage)) if attempts else ""


def _preempted(job_id: str, attempts: list[Attempt]) -> list[int]:
    """Numbers of those attempts that Slurm preempted, as far as can be known; it is asked if need be."""
    perhaps = perhaps_preempted(attempts)
    return preempted_attempts(perhaps, states_by_start(job_id)) if perhaps else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
