"""The batch process of one element of an array: runs its trials in turn, each as any other job is run."""

import os
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from espnet3.config.secrets import saved_text
from espnet3.errors import UserError
from espnet3.launcher.attempt.run_stage import StartStep
from espnet3.launcher.batch import run_job as batch
from espnet3.launcher.planning.plan import main_job, plan
from espnet3.launcher.rank.interrupts import StopSignals
from espnet3.launcher.rank.task import redirect_output
from espnet3.launcher.start.warm_step import WarmSteps
from espnet3.outcomes.job import failed_end
from espnet3.outcomes.restart import RestartDecision, decide_restart, restarts_in_place
from espnet3.rundir.atomic import write_text
from espnet3.rundir.attempt import End
from espnet3.rundir.job import (
    CONFIG,
    SubmittedJob,
    read_job_end,
    read_job_id,
    write_job_end,
    write_submission,
)
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.private import check_private
from espnet3.rundir.stop import TIME_LIMIT
from espnet3.slurm.own_job import own_slurm_job_id, stop_at
from espnet3.sweep.jobs.array import own_job, read_array
from espnet3.sweep.trials.folder import trial_dir
from espnet3.sweep.trials.trial import Trial, read_trial, trial_config
from espnet3.terminal.screen import Screen

Own = tuple[Trial, SubmittedJob]
"""A trial and its job, which is this element."""


def main(folder: str) -> int:
    """Run the element that Slurm has started of the array in `folder`; returns the element's exit code."""
    try:
        return _run(Path(folder))
    except UserError as error:
        print(f"espnet3: {error}", file=sys.stderr)
        return 1


def _run(folder: Path) -> int:
    check_private(folder)
    array = read_array(folder)
    assert array is not None, f"{folder} describes no array"
    sweep = folder.parent.parent
    element = int(os.environ["SLURM_ARRAY_TASK_ID"])
    submitted_as, this = read_job_id(folder), os.environ["SLURM_ARRAY_JOB_ID"]
    if submitted_as is None:
        write_submission(folder, this)
    elif submitted_as != this:
        print(f"ends: this array was submitted twice, and is job {submitted_as}")
        return 0
    own = []
    for name in array.elements[element]:
        job, trial = own_job(sweep, name, array, element), read_trial(sweep, name)
        if job is None or trial is None:
            print(f"trial {name} is another job's by now, or gone")
        else:
            own.append((trial, job))
    if len(array.elements[element]) > 1:
        return _run_in_turn(sweep, folder / "logs" / f"{element}-warm", own)
    for one in own:
        _describe(sweep, *one)
        return batch.main(str(_folder(sweep, *one)))
    return 0


def _run_in_turn(sweep: Path, log: Path, own: Sequence[Own]) -> int:
    """Run several trials, of which none ends the others; what an earlier start has ended is left alone."""
    ends = [read_job_end(_folder(sweep, *one)) for one in own]
    bad = any(end is not None and end.outcome != "done" for end in ends)
    left = [one for one, end in zip(own, ends, strict=True) if end is None]
    if not left:
        return int(bad)
    resources = main_job(plan(trial_config(sweep, left[0][0]), left[0][1].stages)).resources
    limit = stop_at(resources.signal_delay_s)
    steps = WarmSteps(resources, log)
    try:
        with StopSignals(insistent=False) as interrupts:
            for number, one in enumerate(left):
                if number and limit is not None and time.time() >= limit:
                    interrupts.stop.set(TIME_LIMIT)
                if interrupts.stop.is_set():  # between two trials
                    decision = decide_restart(End("stopped", interrupts.stop.reason or ""))
                else:
                    decision = _run_to_its_end(sweep, *one, steps.start)
                if decision.after != "exit":
                    return batch.leave(_folder(sweep, *one), decision, Screen())
                bad |= decision.exit_code != 0
    finally:
        steps.end()
    return int(bad)


def _run_to_its_end(sweep: Path, trial: Trial, job: SubmittedJob, start: StartStep) -> RestartDecision:
    """Run a trial; one whose rank was killed starts again in place: the job is not its alone."""
    folder = _folder(sweep, trial, job)
    while True:
        try:
            _describe(sweep, trial, job)
            decision = batch.run_job(folder, Screen(), start)
        except Exception as error:  # a bug, which the other trials may not meet
            traceback.print_exc()
            decision = RestartDecision(failed_end(error))
            with suppress(OSError):
                write_job_end(folder, decision.end)
        if not restarts_in_place(decision):
            return decision


def _describe(sweep: Path, trial: Trial, job: SubmittedJob) -> None:
    """Give a trial's job its configuration; from now on this process prints into the trial's log."""
    redirect_output(trial_dir(sweep, trial.name) / "logs" / job.stage / f"job-{own_slurm_job_id()}.log")
    config = _folder(sweep, trial, job) / CONFIG
    if not config.exists():
        write_text(config, saved_text(trial_config(sweep, trial)))


def _folder(sweep: Path, trial: Trial, job: SubmittedJob) -> Path:
    return jobs_dir(trial_dir(sweep, trial.name)) / job.name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
