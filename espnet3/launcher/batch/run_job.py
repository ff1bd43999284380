"""The batch process of a submitted job, on its first node: runs the stages and decides on a restart."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from espnet3.config.saved import read_config
from espnet3.errors import UserError
from espnet3.launcher.attempt.run_stage import RunOptions, StartStep
from espnet3.launcher.attempt.run_stages import run_in_turn
from espnet3.launcher.batch.job_before import check_before_is_done, wait_for_outputs
from espnet3.launcher.batch.leaving import leave
from espnet3.launcher.batch.nodes import find_nodes, read_next_start, with_nodes
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.planning.plan import Job, main_job, plan
from espnet3.launcher.rank.interrupts import StopSignals
from espnet3.launcher.start.warm_step import WarmSteps
from espnet3.launcher.submit.follow_up import submit_follow_up
from espnet3.outcomes.attempt import aborted_result
from espnet3.outcomes.job import failed_result
from espnet3.outcomes.restart import (
    RestartDecision,
    attempts_without_progress,
    decide_restart,
    perhaps_preempted,
    preempted_attempts,
    result_without_progress,
    with_next_start,
    with_reason,
)
from espnet3.rundir import claim
from espnet3.rundir.files.private import check_private
from espnet3.rundir.files.reading import read_late
from espnet3.rundir.layout import stage_home
from espnet3.rundir.records.attempt import Attempt, AttemptResult, progress_mark, read_attempts
from espnet3.rundir.records.job import (
    CONFIG,
    SCRIPT,
    SubmittedJob,
    duplicate_of,
    read_job,
    write_job_result,
)
from espnet3.rundir.records.start import JobStart, begin_start, end_start
from espnet3.slurm.accounting import states_by_start
from espnet3.slurm.own_job import (
    began_at,
    is_ended_by_slurm,
    number_of_nodes,
    own_slurm_job,
    own_slurm_job_id,
    stop_at,
)
from espnet3.slurm.step import end_own_steps
from espnet3.terminal.output import keep_output
from espnet3.terminal.screen import Screen

STOP_MARGIN_S = 15.0
"""How long before the time limit a task that was asked to stop exits, saved or not."""


Family = Callable[[], Iterable[Path]]
"""The run directories of the same user and kind of work, such as all trials of a sweep."""


def main(folder: str) -> int:
    """Run the job described in `folder`; returns its exit code, or never returns when it is requeued."""
    screen, job_id = Screen(), own_slurm_job_id()
    follow_up = partial(submit_follow_up, [Path(folder)], job_id, script=Path(folder) / SCRIPT)
    return leave(Path(folder), run_while_it_stays(Path(folder), screen), screen, follow_up)


def run_while_it_stays(folder: Path, screen: Screen, family: Family = tuple) -> RestartDecision:
    """Run the job that `folder` describes, again and again while it keeps its nodes.

    A node on which attempts of `family` keep dying is left out of the next start.
    """
    warm_steps = WarmSteps(folder / "warm")
    try:
        while stays(decision := run_job(folder, screen, warm_steps.start, family)):
            pass
    finally:
        warm_steps.end()
    return decision


def stays(decision: RestartDecision) -> bool:
    """Whether the job restarts at once on its nodes: not where Slurm is ending it."""
    return decision.after == "restart" and not is_ended_by_slurm(own_slurm_job_id())


def run_job(folder: Path, screen: Screen, start_step: StartStep, family: Family = tuple) -> RestartDecision:
    """Run the job that `folder` describes; writes its result there, unless it waits or restarts."""
    try:
        decision = _run_job(folder, screen, start_step, family)
    except UserError as error:
        screen.line(str(error))
        decision = RestartDecision(failed_result(error))
    if decision.result is not None and decision.after == "exit":
        with suppress(OSError):  # a full disk does not change the outcome
            write_job_result(folder, decision.result)
    with suppress(OSError):
        end_start(folder, own_slurm_job())
    return decision


def _run_job(folder: Path, screen: Screen, start_step: StartStep, family: Family) -> RestartDecision:
    """As `run_job`.

    Raises:
        UserError: the folder can't be trusted, or the stage can't run.
    """
    check_private(folder)
    submitted = read_late(partial(read_job, folder), folder)
    assert submitted is not None, f"{folder} describes no job"
    config = read_config(folder / CONFIG)
    job_id = own_slurm_job_id()
    if other_id := duplicate_of(folder, job_id):
        screen.line(f"ends: {folder.name} was submitted twice, and is job {other_id}")
        return RestartDecision(None)
    write_job_result(folder, None)
    if submitted.after:
        check_before_is_done(folder.parent / submitted.after)
        wait_for_outputs(config, folder.parent / submitted.after)
    os.environ["ESPNET3_JOB"] = submitted.name  # marks the allocation for commands inside
    jobs = plan(config, submitted.stages)
    main = main_job(jobs)
    _note_start(folder, submitted, main)
    nodes: list[str] = []
    if main.resources.outlives_nodes:
        found = find_nodes(main, Path(config.exp_dir))
        if found.lost:
            screen.line(found.lost)
        if not found.nodes:
            return RestartDecision(AttemptResult("killed", found.lost), "requeue", found.lost)
        nodes = found.nodes
        jobs = plan(with_nodes(config, main, len(nodes)), submitted.stages)
        main = main_job(jobs)
    earlier = _earlier(config, submitted)
    without_progress = attempts_without_progress(earlier, _progress(config, earlier), _preempted(earlier))
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
        restarts=partial(_restarts, config, submitted, decisions, screen, family),
        start_step=start_step,
        nodes=nodes,
        stop_at=stop_at(main.resources.signal_delay_s),
        stop_within_s=max(5.0, main.resources.signal_delay_s - STOP_MARGIN_S),
        show_log=False,
    )
    _end_left_tasks({Path(config.exp_dir), *(stage_home(config, job.stage) for job in jobs)}, run_options)
    with hold_directory(Path(config.exp_dir), screen, wait=True):
        result = run_in_turn(jobs, config, run_options) or aborted_result()
    last = decisions[-1] if decisions else RestartDecision(result)
    return replace(last, result=with_reason(result, last.reason))


def _note_start(folder: Path, submitted: SubmittedJob, main: Job) -> None:
    """Write since when this start of the job holds its nodes; of several runs each holds them in its turn."""
    since = began_at() if submitted.runs == 1 else time.time()
    start = JobStart(own_slurm_job(), number_of_nodes(), main.resources.gpus_per_node, since)
    with suppress(OSError):  # a full disk is told where it matters
        begin_start(folder, start)


def _end_left_tasks(homes: Iterable[Path], run_options: RunOptions) -> None:
    """End the tasks of a batch process that was killed in this start of the job; they save first.

    Claims of tasks on other nodes are released: their steps are over, and nobody here sees more.
    """
    own = own_slurm_job()
    left = [home for home in homes if (owner := claim.owner(home)) and owner.slurm_job == own]
    if left:
        run_options.screen.line("waiting for the tasks of the batch process that was killed")
        end_own_steps(own_slurm_job_id(), save_within_s=run_options.stop_within_s)
    for home in left:
        claim.release_tasks(home, own)


def _restarts(
    config: DictConfig,
    submitted: SubmittedJob,
    decisions: list[RestartDecision],
    screen: Screen,
    family: Family,
    job: Job,
    result: AttemptResult,
    progress_before: str,
) -> bool:
    """Decide whether the job restarts after the result of an attempt, and print it."""
    progress = progress_mark(stage_home(config, job.stage))
    *earlier, last = _earlier(config, submitted)
    without_progress = 0
    if progress == progress_before:
        without_progress = 1 + attempts_without_progress(earlier, progress, _preempted(earlier))
    decision = decide_restart(
        result,
        # with a spare, another node takes the place of one where none began
        all_began=len(last.states) == last.begin.world_size or job.resources.outlives_nodes,
        without_progress=without_progress,
        max_restarts=submitted.max_restarts,
    )
    if decision.restarts:
        exp_dirs = {Path(config.exp_dir), *family()}
        start = read_next_start(job.resources, result, last, exp_dirs, in_vain=without_progress > 0)
        decision = with_next_start(decision, start)
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


def _preempted(attempts: list[Attempt]) -> list[int]:
    """Numbers of the attempts that Slurm preempted, as far as known; asks Slurm only if needed."""
    candidates = perhaps_preempted(attempts)
    if not candidates:
        return []
    ids = {attempt.launcher.slurm_job.rpartition(".")[0] for attempt in candidates}
    return preempted_attempts(candidates, states_by_start(ids))


if __name__ == "__main__":
    keep_output()
    sys.exit(main(sys.argv[1]))
