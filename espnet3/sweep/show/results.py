"""How a sweep is and what came out: its trials with their states, objectives, metrics and failures."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet3.errors import UserError, short_path
from espnet3.rundir.attempt import read_attempts
from espnet3.rundir.curves import Curve, read_curves
from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.show.states import (
    TrialFiles,
    TrialState,
    failure_of,
    query_trial_jobs,
    read_trial_files,
    state_of,
)
from espnet3.sweep.show.view import SweepView, TrialView
from espnet3.sweep.trials.folder import trial_dir
from espnet3.sweep.trials.objective import Objective, value_of
from espnet3.sweep.trials.record import ListedTrial, SweepRecord, read_sweep_record
from espnet3.sweep.trials.trial import read_trial


@dataclass(frozen=True)
class TrialRow:
    """A trial at one moment."""

    name: str
    listed: ListedTrial
    files: TrialFiles
    state: TrialState
    objective: float | None


@dataclass(frozen=True)
class SweepStatus:
    """A sweep at one moment."""

    directory: Path
    record: SweepRecord
    rows: list[TrialRow]
    """In the order the trials were asked for."""
    queue: QueueSnapshot
    """What Slurm said."""

    @property
    def objective(self) -> Objective:
        """What the trials are compared by."""
        return Objective(self.record.objective, self.record.direction)

    @property
    def best(self) -> TrialRow | None:
        """The best of those that are done, leaving out what is of an older configuration."""
        best: TrialRow | None = None
        for row in self.rows:
            if row.state.state != "done" or row.listed.older:
                continue
            if row.objective is None or not math.isfinite(row.objective):
                continue
            if best is None or self.objective.better(row.objective, best.objective or 0.0):
                best = row
        return best


def read_sweep_status(
    sweep: Path, *, names: Sequence[str] | None = None, queue: QueueSnapshot | None = None
) -> SweepStatus:
    """Read a sweep's files, and ask Slurm once if there is need to.

    Args:
        sweep: its directory.
        names: trials to look at; None: all.
        queue: what Slurm said, if it was asked already.

    Raises:
        UserError: there is no sweep.
    """
    record = read_sweep_record(sweep)
    if record is None:
        raise UserError(f"{short_path(sweep)} holds no sweep: it has no sweep.json")
    listed = record.listed
    chosen = list(listed) if names is None else list(names)
    files = [read_trial_files(sweep, name, listed[name].stages) for name in chosen]
    if queue is None:
        queue = query_trial_jobs(files)
    rows = []
    for one in files:
        stages = listed[one.name].stages
        state = state_of(one, stages, queue)
        rows.append(TrialRow(one.name, listed[one.name], one, state, objective_value(record.objective, one)))
    return SweepStatus(sweep, record, rows, queue)


def objective_value(metric: str, trial: TrialFiles) -> float | None:
    """The objective of a trial, as far as its finished stages give it."""
    found = {stage: record.metrics if record.done else {} for stage, record in trial.records.items()}
    return value_of(metric, found.get("train", {}), found.get("validate", {}))


def read_sweep(directory: Path, queue: QueueSnapshot | None = None) -> SweepView:
    """Everything there is to tell of the sweep in `directory`; Slurm is asked once, if there is need to.

    Raises:
        UserError: there is no sweep.
    """
    seen = read_sweep_status(directory, queue=queue)
    return SweepView(
        name=directory.name,
        directory=str(directory),
        keys=list(seen.record.keys),
        objective=seen.record.objective,
        direction=seen.record.direction,
        trials=[_view(directory, row) for row in seen.rows],
        best=seen.best.name if seen.best else None,
        command=seen.record.given[-1].command if seen.record.commands else "",
        generated_at=time.time(),
    )


def _view(sweep: Path, row: TrialRow) -> TrialView:
    directory = trial_dir(sweep, row.name)
    trial, failure = read_trial(sweep, row.name), failure_of(row.files)
    metrics: dict[str, float] = {}
    for record in row.files.records.values():
        metrics |= {key: float(value) for key, value in record.metrics.items() if _is_number(value)}
    failed = row.state.state in ("failed", "killed")
    return TrialView(
        name=row.name,
        directory=str(directory.relative_to(sweep)),
        values=dict(row.listed.values),
        state=row.state.state,
        objective=row.objective,
        metrics=metrics,
        curves=_curves(directory),
        message=row.state.message,
        traceback=failure.traceback if failure and failed else "",
        command=trial.command if trial else "",
        seconds=_seconds(directory),
        older=row.listed.older,
    )


def _curves(directory: Path) -> dict[str, Curve]:
    """The metrics of a training by epoch; none where they can't be read."""
    try:
        return read_curves(directory / "csv" / "metrics.csv", by="epoch")
    except OSError:
        return {}


def _seconds(directory: Path) -> float | None:
    """How long its attempts have run, all together; of one that did not tell its end nothing counts."""
    ran = [
        attempt.end.ended_at - attempt.begin.started_at for attempt in read_attempts(directory) if attempt.end
    ]
    return sum(ran) if ran else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
