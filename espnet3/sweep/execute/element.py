"""The batch process of one array element: runs its trials one after the other, each as its own job."""

import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from espnet3.config.secrets import saved_text
from espnet3.errors import UserError, message_line
from espnet3.launcher.attempt.run_stage import StartStep
from espnet3.launcher.batch import run_job as batch
from espnet3.launcher.batch.leaving import leave
from espnet3.launcher.planning.plan import main_job, plan
from espnet3.launcher.rank.interrupts import StopSignals
from espnet3.launcher.rank.task import redirect_output
from espnet3.launcher.start.warm_step import WarmSteps
from espnet3.launcher.submit.follow_up import submit_follow_up
from espnet3.outcomes.job import failed_result
from espnet3.outcomes.restart import RestartDecision, decide_restart
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.files.private import check_private
from espnet3.rundir.files.reading import read_late
from espnet3.rundir.layout import job_log, jobs_dir
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.job import (
    CONFIG,
    SCRIPT,
    SubmittedJob,
    duplicate_of,
    read_job_id,
    read_job_result,
    write_element_result,
    write_job_result,
)
from espnet3.rundir.stop import TIME_LIMIT
from espnet3.slurm.own_job import own_array_element, own_slurm_job_id, stop_at
from espnet3.slurm.restarting.job_change import JobChange
from espnet3.sweep.jobs.array import own_job, read_array
from espnet3.sweep.jobs.waiting import submit_next
from espnet3.sweep.trials.folder import trial_dir, trial_dirs
from espnet3.sweep.trials.trial import Trial, read_trial, trial_config
from espnet3.terminal.output import keep_output
from espnet3.terminal.screen import Screen

ElementTrial = tuple[Trial, SubmittedJob]
"""A trial, and its job, which this element runs."""


def main(folder: str) -> int:
    """Run the element that Slurm started of the array in `folder`, then submit trials that wait for room.

    Returns:
        The exit code.
    """
    try:
        code = _run(Path(folder))
    except UserError as error:
        print(message_line(error), file=sys.stderr)
        code = 1
    submit_next(Path(folder).parent.parent, own_slurm_job_id(), Screen())
    return code


def _run(folder: Path) -> int:
    check_private(folder)
    array = read_late(partial(read_array, folder), folder)
    assert array is not None, f"{folder} describes no array"
    sweep = folder.parent.parent
    array_job_id, element = own_array_element()
    write_element_result(folder, element, None)
    other = duplicate_of(folder, array_job_id)
    trials = []
    for name in array.elements[element]:
        job, trial = own_job(sweep, name, array, element), read_trial(sweep, name)
        if job is None or trial is None:
            print(f"trial {name} was removed, or moved to another job")
        else:
            trials.append((trial, job))
    ids = {read_job_id(_job_folder(sweep, trial, job)) for trial, job in trials}
    if other and not ids & {None, own_slurm_job_id()}:  # of a follow-up job the trials have the id
        print(f"ends: this array was submitted twice, and is job {other}")
        return 0
    if len(array.elements[element]) > 1:
        return _run_sequentially(sweep, folder, element, trials)
    for trial, job in trials:
        _prepare(sweep, trial, job)
        job_folder, screen = _job_folder(sweep, trial, job), Screen()
        follow_up = partial(_submit_follow_up, [job_folder], folder, element)
        decision = batch.run_while_it_stays(job_folder, screen, partial(trial_dirs, sweep))
        return leave(job_folder, decision, screen, follow_up)
    return 0


def _submit_follow_up(job_folders: Sequence[Path], folder: Path, element: int, change: JobChange) -> str:
    """Submit the element again, to go on with unfinished trials; returns the id."""
    return submit_follow_up(job_folders, own_slurm_job_id(), change, script=folder / SCRIPT, element=element)


def _run_sequentially(sweep: Path, folder: Path, element: int, trials: Sequence[ElementTrial]) -> int:
    """Run several trials; a failure does not end the others. Skips those that ended before a restart."""
    ends = [read_job_result(_job_folder(sweep, trial, job)) for trial, job in trials]
    any_failed = any(result is not None and result.outcome != "done" for result in ends)
    unfinished = [entry for entry, result in zip(trials, ends, strict=True) if result is None]
    if not unfinished:
        return int(any_failed)
    resources = main_job(plan(trial_config(sweep, unfinished[0][0]), unfinished[0][1].stages)).resources
    stops_at = stop_at(resources.signal_delay_s)
    warm_steps = WarmSteps(folder / "logs" / f"{element}-warm", resources)
    try:
        with StopSignals(second_ctrl_c_raises=False) as interrupts:
            for number, (trial, job) in enumerate(unfinished):
                if number and stops_at is not None and time.time() >= stops_at:
                    stops_at = stop_at(resources.signal_delay_s) or stops_at  # the limit may have been raised
                if number and stops_at is not None and time.time() >= stops_at:
                    interrupts.stop.set(TIME_LIMIT)
                if interrupts.stop.is_set():  # between two trials
                    decision = decide_restart(AttemptResult("stopped", interrupts.stop.reason or ""))
                else:
                    decision = _run_until_ended(sweep, trial, job, warm_steps.start)
                if decision.after != "exit":
                    rest = [_job_folder(sweep, *entry) for entry in unfinished[number:]]
                    follow_up = partial(_submit_follow_up, rest, folder, element)
                    return leave(rest[0], decision, Screen(), follow_up)
                any_failed |= decision.exit_code != 0
    finally:
        warm_steps.end()
    return int(any_failed)


def _run_until_ended(sweep: Path, trial: Trial, job: SubmittedJob, start: StartStep) -> RestartDecision:
    """Run a trial; after a killed rank it restarts in this job, which other trials share."""
    folder = _job_folder(sweep, trial, job)
    while True:
        try:
            _prepare(sweep, trial, job)
            decision = batch.run_job(folder, Screen(), start, partial(trial_dirs, sweep))
        except Exception as error:  # a bug, which may not affect the other trials
            traceback.print_exc()
            decision = RestartDecision(failed_result(error))
            with suppress(OSError):
                write_job_result(folder, decision.result)
        if not batch.stays(decision):
            return decision


def _prepare(sweep: Path, trial: Trial, job: SubmittedJob) -> None:
    """Write the configuration of a trial's job, and redirect this process's output to the trial's log."""
    redirect_output(job_log(trial_dir(sweep, trial.name), job.stage, own_slurm_job_id()))
    config = _job_folder(sweep, trial, job) / CONFIG
    if not config.exists():
        write_text(config, saved_text(trial_config(sweep, trial)))


def _job_folder(sweep: Path, trial: Trial, job: SubmittedJob) -> Path:
    return jobs_dir(trial_dir(sweep, trial.name)) / job.name


if __name__ == "__main__":
    keep_output()
    sys.exit(main(sys.argv[1]))
