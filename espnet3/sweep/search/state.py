"""The state of a search: its trials under way or unfinished, their results, and the next points."""

import math
import time
from collections.abc import Iterable

from espnet3.errors import short_path
from espnet3.sweep.jobs.settled import settled_states
from espnet3.sweep.search.planned import PlannedSearch
from espnet3.sweep.search.space import Point
from espnet3.sweep.search.study import Study
from espnet3.sweep.show.results import objective_value, read_sweep_status
from espnet3.sweep.show.states import FAILED, UNDER_WAY, TrialState, read_trial_files
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.sweep.trials.search_record import SearchRecord, write_search
from espnet3.sweep.trials.trial import Trial
from espnet3.terminal.screen import Screen

MIN_FAILURES = 4
"""So many trials, or as many as run at once, must fail before a search without any success ends."""


class SearchState:
    """The trials of one search, while this process holds the claim on `search/`.

    Args:
        search: the planned search.
        screen: where the initial state is printed.
        retry_failed: run failed trials again.
    """

    def __init__(self, search: PlannedSearch, screen: Screen, *, retry_failed: bool) -> None:
        self._search, self._screen, self._retry_failed = search, screen, retry_failed
        self._study = Study(search.space, search.settings.sampler, search.objective.direction)
        self.points: dict[str, Point] = {}
        """Every trial of the search, by name."""
        self.under_way: list[str] = []
        """Names of the trials under way."""
        self._unfinished: list[Point] = []
        """Points whose trials were begun and must be continued."""
        self.at_once = search.at_once
        self.succeeded, self._failures = False, 0
        self.stop_reason = ""
        """Why no more trials are begun; empty unless the search ends early."""

    @property
    def has_unfinished(self) -> bool:
        """Whether there are trials that were begun and must be continued."""
        return bool(self._unfinished)

    @property
    def is_over(self) -> bool:
        """Whether no trial is left to start; some may be under way."""
        return bool(self.stop_reason) or (
            not self._unfinished and len(self._study.points) >= self._search.settings.n_trials
        )

    def restore(self) -> None:
        """Restore the state of this search from the sweep's files."""
        sweep = self._search.sweep
        self.points = self._search.known_trials()
        record = read_sweep_record(sweep)
        listed = record.listed if record else {}
        states = settled_states(sweep, list(self.points), listed)
        while not self._search.on_slurm and any(state.state in UNDER_WAY for state in states.values()):
            # Trials of a killed command save and end by themselves.
            self._screen.line("waiting for trials of an earlier command to end")
            time.sleep(2.0)
            states = settled_states(sweep, list(self.points), listed)
        for name, state in states.items():
            point = self.points[name]
            if state.state in UNDER_WAY:
                self.under_way.append(name)
                self._study.add_running(point)
            elif state.state == "done":
                self.tell(name, state)
            elif state.state == "diverged" or (state.state in FAILED and not self._retry_failed):
                self._study.tell(point, None)
            else:
                self._unfinished.append(point)
                self._study.add_running(point)
        self._screen.line(self._summary())
        self._write()

    def _summary(self) -> str:
        n_trials = self._search.settings.n_trials
        known = len(self.points) - len(self.under_way) - len(self._unfinished)
        parts = [f"{known} known"] if known else []
        parts += [f"{len(self.under_way)} under way"] if self.under_way else []
        parts += [f"{len(self._unfinished)} to continue"] if self._unfinished else []
        parts += [f"{max(0, n_trials - len(self.points))} to be chosen, {self.at_once} at once"]
        return f"{short_path(self._search.sweep)}: search for {n_trials} trials: {', '.join(parts)}"

    def next_points(self, room: int) -> list[Point]:
        """Up to `room` points to start now."""
        if self.stop_reason:
            return []
        points = self._unfinished[:room]
        self._unfinished = self._unfinished[room:]
        while len(points) < room and len(self._study.points) < self._search.settings.n_trials:
            point = self._study.ask()
            if point is None:
                self.stop_reason = "every point of the space has been tried"
                break
            points.append(point)
        return points

    def postpone(self, points: Iterable[Point]) -> None:
        """Return points whose trials could not be started: `next_points` gives them first."""
        self._unfinished = [*points, *self._unfinished]

    def add_trials(self, points: Iterable[Point], trials: Iterable[Trial]) -> None:
        """Add the trials that were created for points."""
        names = {tuple(trial.overrides): trial.name for trial in trials}
        for point in points:
            if point in names:
                self.points[names[point]] = point
            else:  # it is the same trial as another point
                self._study.tell(point, None)
        self._write()

    def tell(self, name: str, state: TrialState) -> None:
        """Tell the study the result of a trial that has ended."""
        if state.state != "done":
            if state.state in (*FAILED, "diverged", "cancelled"):
                self._study.tell(self.points[name], None)  # FAIL: no value for a sampler to learn from
                self._failures += state.state in FAILED
            if not self.succeeded and self._failures >= max(MIN_FAILURES, self.at_once):
                self.stop_reason = f"all of the first {self._failures} trials failed"
            return
        sweep, metric = self._search.sweep, self._search.objective.metric
        record = read_sweep_record(sweep)
        stages = record.listed[name].stages if record else []
        value = objective_value(metric, read_trial_files(sweep, name, stages))
        self._study.tell(self.points[name], value if value is not None and math.isfinite(value) else None)
        self.succeeded = self.succeeded or value is not None
        if value is None and not self.succeeded:
            self.stop_reason = f"trial {name} is done, but has no {metric}: {self._reported_metrics(name)}"

    def _reported_metrics(self, name: str) -> str:
        """A message: the metrics that a trial has instead of the objective."""
        (row,) = read_sweep_status(self._search.sweep, names=[name]).rows
        keys = {key for record in row.files.records.values() for key in record.metrics if "valid/" in key}
        metrics = sorted({key.removeprefix("best ") for key in keys})
        return (
            f"sweep.objective takes one of {', '.join(metrics)}" if metrics else "it has no metric of valid"
        )

    def _write(self) -> None:
        settings = self._search.settings
        record = SearchRecord(self._search.request, settings.n_trials, list(self.points))
        write_search(self._search.sweep, record)
