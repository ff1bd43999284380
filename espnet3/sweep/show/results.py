"""The status of a sweep: its trials with their states, objectives, metrics and failures."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from espnet3.errors import UserError, short_path
from espnet3.rundir.curves import Curve, read_curves
from espnet3.rundir.files.reading import if_readable
from espnet3.rundir.metrics import run_metrics
from espnet3.rundir.records.attempt import AttemptResult, read_attempts
from espnet3.status.goodput.ledger import ledger, trained_share
from espnet3.status.run_files import read_what_can_be_read
from espnet3.status.snapshot import QueueSnapshot
from espnet3.status.stage_status import StageStatus
from espnet3.sweep.show.goodput import trial_facts
from espnet3.sweep.show.length import shorter, trained_length
from espnet3.sweep.show.shared import failed_shared, read_shared
from espnet3.sweep.show.states import (
    FAILED,
    TrialFiles,
    TrialState,
    failure_of,
    query_trial_jobs,
    read_trial_files,
    state_of,
)
from espnet3.sweep.show.view import SweepView, TrialView
from espnet3.sweep.trials.folder import trial_dir
from espnet3.sweep.trials.objective import Objective
from espnet3.sweep.trials.record import ListedTrial, SweepRecord, read_sweep_record
from espnet3.sweep.trials.trial import read_trial


@dataclass(frozen=True)
class TrialRow:
    """The status of a trial."""

    name: str
    listed: ListedTrial
    files: TrialFiles
    state: TrialState
    objective: float | None
    last_finite: float | None = None
    """The last finite value of the objective, of a trial that has diverged."""
    shorter: str = ""
    """How its training is shorter than that of others, with which it is not compared."""


@dataclass(frozen=True)
class SweepStatus:
    """The status of a sweep."""

    directory: Path
    record: SweepRecord
    rows: list[TrialRow]
    """In the order the trials were asked for."""
    queue: QueueSnapshot
    """Slurm's answer."""
    blaming: list[AttemptResult] = field(default_factory=list)
    """The results of attempts for which a node is to blame, of the trials that are not done."""
    failed_shared: list[StageStatus] = field(default_factory=list)
    """Shared stages that did not end as done, where trials have not begun for want of them."""

    @property
    def objective(self) -> Objective:
        """The metric that trials are compared by."""
        return Objective(self.record.objective, self.record.direction)

    @property
    def best(self) -> TrialRow | None:
        """The best done trial, leaving out those of an older configuration and shorter trainings."""
        best: TrialRow | None = None
        for row in self.rows:
            if row.state.state != "done" or row.listed.older or row.shorter:
                continue
            if row.objective is None or not math.isfinite(row.objective):
                continue
            if best is None or self.objective.is_better(row.objective, best.objective or 0.0):
                best = row
        return best


def read_sweep_status(
    sweep: Path,
    *,
    names: Sequence[str] | None = None,
    queue: QueueSnapshot | None = None,
    in_part: bool = False,
) -> SweepStatus:
    """Read a sweep's files, and ask Slurm at most once.

    Args:
        sweep: its directory.
        names: trials to read; None: all.
        queue: an earlier answer of Slurm, used instead of asking.
        in_part: read what can be read, for what is only shown; a trial of which nothing can be read has
            this as its state.

    Raises:
        UserError: there is no sweep, or something of it can't be read.
    """
    record = read_sweep_record(sweep)
    if record is None:
        raise UserError(f"{short_path(sweep)} holds no sweep: it has no sweep.json")
    listed = record.listed
    chosen = list(listed) if names is None else list(names)
    unreadable: dict[str, list[str]] = {name: [] for name in chosen}
    trials = [
        if_readable(
            partial(read_trial_files, sweep, name, listed[name].stages, read_what_can_be_read),
            unreadable[name],
        )
        or TrialFiles(name)
        if in_part
        else read_trial_files(sweep, name, listed[name].stages)
        for name in chosen
    ]
    shared = read_shared(sweep) if names is None else []
    if queue is None:
        queue = query_trial_jobs(trials, shared)
    rows = []
    lengths = [
        {} if listed[files.name].older else trained_length(files.records, record.keys) for files in trials
    ]
    for files, is_shorter in zip(trials, shorter(lengths), strict=True):
        entry = listed[files.name]
        problems = unreadable[files.name]
        state = TrialState("unreadable", problems[0]) if problems else state_of(files, entry.stages, queue)
        last = (
            _last_finite(trial_dir(sweep, files.name), record.objective)
            if state.state == "diverged"
            else None
        )
        value = objective_value(record.objective, files)
        rows.append(TrialRow(files.name, entry, files, state, value, last, is_shorter))
    blaming = [result for files in trials if files.run for result in files.run.blaming]
    never_began = any(row.state.state in ("cancelled", "missing") and not row.listed.older for row in rows)
    failed = failed_shared(shared, queue) if never_began else []
    return SweepStatus(sweep, record, rows, queue, blaming, failed)


def objective_value(metric: str, trial: TrialFiles) -> float | None:
    """The objective of a trial: one of its metrics."""
    return trial_metrics(trial).get(metric)


def trial_metrics(trial: TrialFiles) -> dict[str, float]:
    """The metrics of a trial's finished stages, see `run_metrics`."""
    metrics = run_metrics({stage: record.metrics for stage, record in trial.records.items() if record.done})
    return {name: float(value) for name, value in metrics.items() if _is_number(value)}


def read_sweep(directory: Path, queue: QueueSnapshot | None = None) -> SweepView:
    """Read everything about the sweep in `directory`; Slurm is asked at most once.

    Raises:
        UserError: there is no sweep.
    """
    status = read_sweep_status(directory, queue=queue, in_part=True)
    return SweepView(
        name=directory.name,
        directory=str(directory),
        keys=list(status.record.keys),
        objective=status.record.objective,
        direction=status.record.direction,
        trials=[_view(directory, row, status.queue) for row in status.rows],
        best=status.best.name if status.best else None,
        command=status.record.command_history[-1].command if status.record.commands else "",
        generated_at=time.time(),
        recipe="/".join(Path(status.record.recipe).parts[-2:]).strip("/"),
    )


def _view(sweep: Path, row: TrialRow, queue: QueueSnapshot) -> TrialView:
    directory = trial_dir(sweep, row.name)
    unreadable: list[str] = []
    trial = if_readable(partial(read_trial, sweep, row.name), unreadable)
    failure, now = failure_of(row.files), time.time()
    failed = row.state.state in FAILED
    return TrialView(
        name=row.name,
        directory=str(directory.relative_to(sweep)),
        values=dict(row.listed.values),
        state=row.state.state,
        objective=row.objective,
        metrics=trial_metrics(row.files),
        curves=_curves(directory),
        message="; ".join(filter(None, [row.shorter, row.state.message])),
        traceback=failure.traceback if failure and failed else "",
        command=trial.command if trial else "",
        seconds=if_readable(partial(_seconds, directory), unreadable),
        older=row.listed.older or bool(row.shorter),
        last_finite=row.last_finite,
        trained=trained_share(ledger(trial_facts(directory, row.files, queue, now), now)),
    )


def _curves(directory: Path) -> dict[str, Curve]:
    """The metrics of a training by epoch; empty if they can't be read."""
    try:
        return read_curves(directory / "csv" / "metrics.csv", by="epoch")
    except UserError:
        return {}


def _last_finite(directory: Path, metric: str) -> float | None:
    curve = _curves(directory).get(metric)  # has no NaN
    return curve[-1][1] if curve else None


def _seconds(directory: Path) -> float | None:
    """Total run time of its attempts, in seconds; attempts without a recorded end don't count."""
    durations = [
        attempt.result.ended_at - attempt.begin.started_at
        for attempt in read_attempts(directory)
        if attempt.result
    ]
    return sum(durations) if durations else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
