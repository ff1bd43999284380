"""The batch process of a submitted job, on its first node: runs the stages and decides on a restart."""

import os
import sys
import time
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
from espnet3.launcher.start.warm_step import WarmSteps
from espnet3.outcomes.attempt import aborted_result
from espnet3.outcomes.job import NO_RESULT, failed_result
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
    read_job_result,
    write_job_result,
)
from espnet3.slurm.accounting import states_by_start
from espnet3.slurm.own_job import is_ended_by_slurm, own_slurm_job_id, requeue, stop_at, wait_for_slurm
from espnet3.terminal.screen import Screen

STOP_MARGIN_S = 15.0
"""How long before the time limit a task that was asked to stop exits, saved or not."""
LATE_FILES_S = 90.0
"""How long a file may take to be seen on another node (attribute caches of NFS)."""


def main(folder: str) -> int:
    """Run the job described in `folder`; returns its exit code, or never returns when it is requeued."""
    screen = Screen()
    warm_steps = WarmSteps(Path(folder, "warm"))
    try:
        decision = run_job(Path(folder), screen, warm_steps.start)
        while stays(decision):
            decision = run_job(Path(folder), screen, warm_steps.start)
    finally:
        warm_steps.end()
    return leave(Path(folder), decision, screen)


def stays(decision: RestartDecision) -> bool:
    """Whether the job restarts at once on its nodes: not where Slurm is ending it."""
    return decision.after == "restart" and not is_ended_by_slurm(own_slurm_job_id())


def run_job(folder: Path, screen: Screen, start_step: StartStep) -> RestartDecision:
    """Run the job that `folder` describes; writes its result there, unless it waits or restarts."""
    try:
        decision = _run_job(folder, screen, start_step)
    except UserError as error:
        screen.line(str(error))
        decision = RestartDecision(failed_result(error))
    if decision.result is not None and decision.after == "exit":
        with suppress(OSError):  # a full disk does not change the outcome
            write_job_result(folder, decision.result)
    return decision


def leave(folder: Path, decision: RestartDecision, screen: Screen) -> int:
    """Exit, wait or requeue the job in `folder`; returns this process's exit code unless Slurm ends it."""
    job_id = own_slurm_job_id()
    if decision.after == "wait":
        # Slurm knows whether the job was cancelled or preempted: no result is written.
        screen.line("waiting for Slurm to end this job")
        if not wait_for_slurm(job_id):
            decision = decide_unended(decision)
            screen.line(f"{'starts again' if decision.restarts else 'ends'}: {decision.reason}")
            if decision.after == "exit":
                write_job_result(folder, decision.result)
    if decision.restarts and is_ended_by_slurm(job_id):
        screen.line("does not start again by itself: Slurm is ending this job")
        return 1
    if decision.restarts:
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
    submitted = read_job(folder)
    assert submitted is not None, f"{folder} describes no job"
    config = read_config(folder / CONFIG)
    job_id = own_slurm_job_id()
    if other_id := duplicate_of(folder, job_id):
        screen.line(f"ends: {folder.name} was submitted twice, and is job {other_id}")
        return RestartDecision(None)
    write_job_result(folder, None)
    if submitted.after:
        check_before_is_done(folder.parent / submitted.after)
    os.environ["ESPNET3_JOB"] = submitted.name  # marks the allocation for commands inside
    jobs = plan(config, submitted.stages)
    main = main_job(jobs)
    earlier = _earlier(config, submitted)
    without_progress = attempts_without_progress(
        earlier, _progress(config, earlier), _preempted(job_id, earlier)
    )
    final_result = result_without_progress(
        main.stage, without_progress=without_progress, max_restarts=submitted.max_restarts
    )
    if final_result is not None:
        screen.line(f"not started again: {final_result.reason}")
        return RestartDecision(final_result)
    decisions: list[RestartDecision] = []
    run_options = RunOptions(
        screen=screen,
        command=submitted.command,
        force=submitted.force and not earlier,
        job=submitted.name,
        interrupts=partial(StopSignals, second_ctrl_c_raises=False),
        restarts=partial(_restarts, config, submitted, decisions, screen),
        start_step=start_step,
        stop_at=stop_at(main.resources.signal_delay_s),
        stop_within_s=max(5.0, main.resources.signal_delay_s - STOP_MARGIN_S),
        show_log=False,
    )
    with hold_directory(Path(config.exp_dir), screen, wait=True):
        result = run_in_turn(jobs, config, run_options) or aborted_result()
    last = decisions[-1] if decisions else RestartDecision(result)
    return RestartDecision(with_reason(result, last.reason), last.after)


def check_before_is_done(folder: Path) -> None:
    """Check that the job in `folder`, which this one waited for, has written that it is done.

    Slurm knows exit codes only. A job without a folder here is of another run directory.

    Raises:
        UserError: it has not.
    """
    if not folder.is_dir():
        return
    deadline = time.monotonic() + LATE_FILES_S
    while (result := read_job_result(folder)) is None and time.monotonic() < deadline:
        time.sleep(1.0)
    if result is None or result.outcome != "done":
        how = NO_RESULT if result is None else f"ended as {result.outcome}: {result.reason}"
        raise UserError(f"{folder.name}, which this job waited for, {how}")


def _restarts(
    config: DictConfig,
    submitted: SubmittedJob,
    decisions: list[RestartDecision],
    screen: Screen,
    job: Job,
    result: AttemptResult,
    progress_before: str,
) -> bool:
    """Decide whether the job restarts after the result of an attempt, and print it."""
    progress = progress_mark(stage_home(config, job.stage))
    *earlier, last = _earlier(config, submitted)
    without_progress = 0
    if progress == progress_before:
        job_id = own_slurm_job_id()
        without_progress = 1 + attempts_without_progress(earlier, progress, _preempted(job_id, earlier))
    decision = decide_restart(
        result,
        all_began=len(last.states) == last.begin.world_size,
        without_progress=without_progress,
        max_restarts=submitted.max_restarts,
    )
    decisions.append(decision)
    if decision.restarts:
        where = " on the same nodes" if decision.after == "restart" else ""
        screen.line(f"starts again{where}: {decision.reason}")
    elif decision.reason:
        screen.line(f"does not start again: {decision.reason}")
    return decision.restarts


def _earlier(config: DictConfig, submitted: SubmittedJob) -> list[Attempt]:
    attempts = read_attempts(Path(config.exp_dir))
    return [attempt for attempt in attempts if attempt.begin.job == submitted.name]


def _progress(config: DictConfig, attempts: list[Attempt]) -> str:
    """The current `progress_mark` of the stage of the last of `attempts`."""
    return progress_mark(stage_home(config, attempts[-1].begin.stage)) if attempts else ""


def _preempted(job_id: str, attempts: list[Attempt]) -> list[int]:
    """Numbers of the attempts that Slurm preempted, as far as known; asks Slurm only if needed."""
    candidates = perhaps_preempted(attempts)
    return preempted_attempts(candidates, states_by_start(job_id)) if candidates else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
