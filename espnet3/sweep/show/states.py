"""The states of a sweep's trials, from their files and one query of Slurm for all."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from espnet3.outcomes.attempt import first_failure
from espnet3.rundir.records.outcome import TaskState
from espnet3.rundir.records.record import Record, read_record
from espnet3.stage_table import STAGES, own_stages
from espnet3.status.run_files import RunFiles, read_run
from espnet3.status.snapshot import QueueSnapshot, query_queue
from espnet3.status.stage_states import jobs_to_query, owner_is_at_work, stage_statuses
from espnet3.status.stage_status import StageStatus
from espnet3.status.stage_status import State as StageState
from espnet3.sweep.trials.folder import trial_dir

State = Literal[
    "queued",
    "running",
    "done",
    "failed",
    "diverged",
    "stopped",
    "cancelled",
    "killed",
    "missing",
    "unreadable",
]
"""missing: it has not run and is not queued; the same command, or `espnet3 resume`, runs it. diverged: its
training has failed in this way, and would again. unreadable: by who asks; only where trials are shown."""
UNDER_WAY: tuple[State, ...] = ("queued", "running")
FAILED: tuple[State, ...] = ("failed", "killed")
"""To be run again."""
_WITHOUT_WHY: tuple[State, ...] = ("running", "done")
_STATES: dict[StageState, State] = {
    "not started": "missing",
    "queued": "queued",
    "held": "queued",
    "blocked": "cancelled",
    "running": "running",
    "restarting": "running",
    "done": "done",
    "stopped": "stopped",
    "cancelled": "cancelled",
    "failed": "failed",
    "killed": "killed",
}


@dataclass(frozen=True)
class TrialFiles:
    """What the files of a trial say."""

    name: str
    records: Mapping[str, Record] = field(default_factory=dict)
    """Records of its own stages."""
    run: RunFiles | None = None
    """None if all its stages are done: nothing more is read."""


@dataclass(frozen=True)
class TrialState:
    """The state of a trial."""

    state: State
    message: str = ""
    stage_status: StageStatus | None = None
    """The stage that decides it."""

    def __str__(self) -> str:
        if self.state == "diverged":
            return self.message  # it begins with the word
        return (
            f"{self.state}: {self.message}" if self.message and self.state not in _WITHOUT_WHY else self.state
        )


def read_trial_files(
    sweep: Path, name: str, stages: Sequence[str], read: Callable[[Path], RunFiles] = read_run
) -> TrialFiles:
    """Read the files of a trial that has these stages; `read` is `read_run`, or more lenient."""
    directory = trial_dir(sweep, name)
    records = {}
    for stage in own_stages():
        record = read_record(directory, stage)
        if record is not None:
            records[stage] = record
    decisive = decisive_stages(stages)
    if all(stage in records and records[stage].done for stage in decisive):
        return TrialFiles(name, records)
    return TrialFiles(name, records, read(directory))


def decisive_stages(stages: Sequence[str]) -> list[str]:
    """The stages of a trial that decide its state."""
    not_shared = [stage for stage in stages if not STAGES[stage].is_shared]
    return not_shared or list(stages)


def query_trial_jobs(trials: Iterable[TrialFiles], shared: Iterable[RunFiles] = ()) -> QueueSnapshot:
    """Query Slurm for the jobs of trials and of stages that they share: at most one query."""
    return query_queue(jobs_to_query([*(trial.run for trial in trials if trial.run is not None), *shared]))


def state_of(trial: TrialFiles, stages: Sequence[str], queue: QueueSnapshot) -> TrialState:
    """The state of a trial that has these stages."""
    if trial.run is None:
        return TrialState("done")
    statuses = {status.stage: status for status in stage_statuses(trial.run, queue, time.time())}
    done = {stage for stage, record in trial.records.items() if record.done}
    later = {stage.stage for stage in trial.run.stages if stage.job and stage.job.comes_later}
    waiting = [stage for stage in STAGES if stage in stages and stage not in done]
    for stage in [*(stage for stage in waiting if stage in decisive_stages(stages)), *waiting]:
        status = statuses.get(stage)
        if status is not None and status.state not in ("done", "not started"):
            has_begun = status.slurm_state in ("RUNNING", "COMPLETING") and stage not in later
            between_stages = status.state == "queued" and has_begun
            state = "running" if between_stages else "diverged" if status.diverged else _STATES[status.state]
            return TrialState(state, _message(status), status)
    if trial.run.owner is not None and owner_is_at_work(trial.run, queue):
        return TrialState("running", "between two stages")
    if all(statuses.get(stage) and statuses[stage].state == "done" for stage in decisive_stages(stages)):
        return TrialState("done")
    return TrialState("missing")


def failure_of(trial: TrialFiles) -> TaskState | None:
    """The rank that failed first in the newest attempt."""
    if trial.run is None:
        return None
    last = max(
        (stage for stage in trial.run.stages if stage.attempt), key=lambda stage: stage.began_at, default=None
    )
    return first_failure(last.tasks) if last else None


def _message(status: StageStatus) -> str:
    return f"blocked: {status.reason}" if status.state == "blocked" else status.reason
