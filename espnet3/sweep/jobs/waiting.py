"""Trials that wait for room in Slurm's queue: whoever ends, or follows the sweep, submits the next ones.

A user, an account or a QOS may have only so many jobs in the queue (MaxSubmitJobs). `arrays/waiting.json`
names the trials of a sweep that are not submitted for that reason. Each array element that ends, and the last
of the stages that trials share, submits as many of them as there is room for: they need neither the user's
shell nor a job that waits for room. With room for one job in all, that one still takes it when it tries.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from espnet3.errors import UserError
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.submit.queued import find_queued
from espnet3.rundir.records.job import read_jobs
from espnet3.slurm.own_job import is_ended_by_slurm
from espnet3.sweep.jobs.plan import Batch, plan_batches
from espnet3.sweep.jobs.queueing import SubmissionResult, WaitingArray, submit_some
from espnet3.sweep.jobs.settled import settled_states
from espnet3.sweep.jobs.submit import array_name, arrays_of
from espnet3.sweep.show.states import UNDER_WAY
from espnet3.sweep.trials.folder import shared_dir, trial_dir
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.sweep.trials.trial import Base, read_base, read_trial
from espnet3.sweep.trials.waiting import WaitingTrials, note_waiting, read_waiting, waiting_trials
from espnet3.terminal.screen import Screen

_ROOM_WITHIN_S = 120.0
"""How long the last element of a sweep waits for the jobs that ended just before it to leave the queue."""
_ASK_EVERY_S = 5.0


def submit_waiting(sweep: Path, screen: Screen) -> SubmissionResult:
    """Submit as many of the waiting trials as Slurm takes now; the caller holds the sweep.

    Raises:
        UserError: Slurm refuses for another reason, or does not answer.
    """
    noted, record = read_waiting(sweep), read_sweep_record(sweep)
    if noted is None or record is None:
        return SubmissionResult()
    names = [name for name in noted.names if name in record.listed and not _is_submitted(sweep, name, noted)]
    states = settled_states(sweep, names, record.listed)
    read = [read_trial(sweep, name) for name in names if states[name].state not in UNDER_WAY]
    trials = [trial for trial in read if trial is not None]
    bases = {name: read_base(sweep, name) for name in sorted({trial.config for trial in trials})}
    arrays: list[WaitingArray] = []
    for stages in dict.fromkeys(tuple(record.listed[trial.name].stages) for trial in trials):
        same = [trial for trial in trials if tuple(record.listed[trial.name].stages) == stages]
        for batch in plan_batches(sweep, same, bases, stages):
            arrays += waiting_arrays(batch, bases, _shared_jobs(sweep, batch))
    queued = submit_some(sweep, arrays, force=noted.force, command=[noted.command], screen=screen)
    note_waiting(sweep, queued.left_names, of=noted.names, force=noted.force, command=noted.command)
    return queued


def waiting_arrays(batch: Batch, bases: Mapping[str, Base], after: list[str]) -> list[WaitingArray]:
    """The arrays of a batch, which are to be submitted."""
    name = array_name(bases[batch.trials[0].config])
    return [WaitingArray(array, name, after) for array in arrays_of(batch, bases)]


def submit_next(sweep: Path, job_id: str, screen: Screen) -> None:
    """Submit waiting trials from `job_id`, an array element or a shared stage, which has done its own work.

    One process at a time tries: if another does, the end of this element makes room for it.
    """
    deadline = time.monotonic() + _ROOM_WITHIN_S
    try:
        if not waiting_trials(sweep) or is_ended_by_slurm(job_id):
            return
        with hold_directory(sweep, screen, wait=False):
            while True:
                queued = submit_waiting(sweep, screen)
                if not queued.waiting or queued.names or _others_run(sweep) or time.monotonic() > deadline:
                    return
                time.sleep(_ASK_EVERY_S)
    except UserError as error:
        screen.line(f"submits no waiting trials: {error}")


def _others_run(sweep: Path) -> bool:
    """Whether other trials are under way, whose ends make room."""
    record = read_sweep_record(sweep)
    states = settled_states(sweep, list(record.listed), record.listed) if record else {}
    return any(state.state in UNDER_WAY for state in states.values())


def _is_submitted(sweep: Path, name: str, noted: WaitingTrials) -> bool:
    """Whether a trial has been submitted since the file was written: who did it died before it said so."""
    jobs = read_jobs(trial_dir(sweep, name))
    return bool(jobs) and jobs[-1].written_at > noted.written_at and Path(jobs[-1].array).is_dir()


def _shared_jobs(sweep: Path, batch: Batch) -> list[str]:
    """Ids of the jobs in the queue that the trials wait for."""
    queued = find_queued(shared_dir(sweep, batch.shared.name)) if batch.shared is not None else []
    return [job.job_id for job in queued[-1:]]
