"""Reads the states of trials before a submission, including jobs whose submitting command was killed."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet3.errors import short_path
from espnet3.rundir.records.job import read_job_id
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.queue import SHOWN_AFTER_S
from espnet3.sweep.jobs.array import read_array
from espnet3.sweep.jobs.submit import adopt
from espnet3.sweep.show.states import TrialState, query_trial_jobs, read_trial_files, state_of
from espnet3.sweep.trials.folder import array_dir, array_numbers, trial_dir
from espnet3.sweep.trials.record import ListedTrial

_RECENT_S = 60.0


def settled_states(
    sweep: Path, names: Sequence[str], listed: Mapping[str, ListedTrial]
) -> dict[str, TrialState]:
    """The state of each trial, once every submitted array is visible in Slurm.

    Side effects: writes the ids of arrays whose submitting command was killed before it could.

    Raises:
        SlurmAway: the queue can't be read.
    """
    if any(_is_recent(sweep, number) for number in array_numbers(sweep)):
        time.sleep(SHOWN_AFTER_S)
    existing = [name for name in names if trial_dir(sweep, name).is_dir()]
    files = [read_trial_files(sweep, name, listed[name].stages) for name in existing]
    queue = query_trial_jobs(files)
    if queue.problem:
        raise SlurmAway(
            f"Slurm does not say what is queued for {short_path(sweep)}: {queue.problem};"
            " nothing was submitted"
        )
    adopt(sweep, queue.jobs)
    states = {trial.name: state_of(trial, listed[trial.name].stages, queue) for trial in files}
    return {name: states.get(name, TrialState("missing")) for name in names}


def _is_recent(sweep: Path, number: int) -> bool:
    """Whether an array was recorded less than _RECENT_S ago and has no id yet."""
    folder = array_dir(sweep, number)
    array = read_array(folder) if read_job_id(folder) is None else None
    return array is not None and time.time() - array.written_at < _RECENT_S
