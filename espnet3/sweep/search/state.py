"""What a search knows of its trials: which are under way or left, what came of others, what comes next."""

import math
import time
from collections.abc import Iterable

from espnet3.errors import short_path
from espnet3.sweep.jobs.settled import settled_states
from espnet3.sweep.search.planned import PlannedSearch
from espnet3.sweep.search.space import Point
from espnet3.sweep.search.study import Study
from espnet3.sweep.show.results import objective_value, read_sweep_status
from espnet3.sweep.show.states import UNDER_WAY, State, TrialState, read_trial_files
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.sweep.trials.search_record import SearchRecord, write_search
from espnet3.sweep.trials.trial import Trial
from espnet3.terminal.screen import Screen

HOPELESS = 4
"""So many trials, or as many as run at once, must fail before a search without any success gives up."""
FAILED: tuple[State, ...] = ("failed", "killed")


class Ledger:
    """The trials of one search, while this process holds `search/`.

    Args:
        search: which one.
        screen: where it is said what is known at the start.
        again: run once more what has failed before.
    """

    def __init__(self, search: PlannedSearch, screen: Screen, *, again: bool) -> None:
        self._search, self._screen, self._again = search, screen, again
        self._study = Study(search.space, search.settings.sampler, search.objective.direction)
        self.points: dict[str, Point] = {}
        """Every trial of the search, by name."""
        self.open: list[str] = []
        """Names of those under way."""
        self._left: list[Point] = []
        """Those that were begun, and have to go on."""
        self.at_once = search.at_once
        self.succeeded, self._failures = False, 0
        self.why = ""
        """Why no more are begun, if not because all are there."""

    @property
    def has_left(self) -> bool:
        """Whether trials that were begun still have to go on."""
        return bool(self._left)

    @property
    def is_over(self) -> bool:
        """Whether none is left to run; some may be under way."""
        return bool(self.why) or (
            not self._left and len(self._study.points) >= self._search.settings.n_trials
        )

    def read_back(self) -> None:
        """Take over what the sweep's files know of this search."""
        sweep = self._search.sweep
        self.points = self._search.known()
        record = read_sweep_record(sweep)
        listed = record.listed if record else {}
        states = settled_states(sweep, list(self.points), listed)
        while not self._search.on_slurm and any(one.state in UNDER_WAY for one in states.values()):
            # Those of a command that was killed save and end, too.
            self._screen.line("waiting for trials of an earlier command to end")
            time.sleep(2.0)
            states = settled_states(sweep, list(self.points), listed)
        for name, state in states.items():
            point = self.points[name]
            if state.state in UNDER_WAY:
                self.open.append(name)
                self._study.know(point)
            elif state.state == "done":
                self.tell(name, state)
            elif state.state in FAILED and not self._again:
                self._study.tell(point, None)
            else:
                self._left.append(point)
                self._study.know(point)
        self._screen.line(self._told())
        self._write()

    def _told(self) -> str:
        wanted = self._search.settings.n_trials
        known = len(self.points) - len(self.open) - len(self._left)
        parts = [f"{known} known"] if known else []
        parts += [f"{len(self.open)} under way"] if self.open else []
        parts += [f"{len(self._left)} to go on with"] if self._left else []
        parts += [f"{max(0, wanted - len(self.points))} to be chosen, {self.at_once} at once"]
        return f"{short_path(self._search.sweep)}: search for {wanted} trials: {', '.join(parts)}"

    def next(self, room: int) -> list[Point]:
        """Up to `room` points to try now."""
        if self.why:
            return []
        points = self._left[:room]
        self._left = self._left[room:]
        while len(points) < room and len(self._study.points) < self._search.settings.n_trials:
            point = self._study.ask()
            if point is None:
                self.why = "every point of the space has been tried"
                break
            points.append(point)
        return points

    def put_off(self, points: Iterable[Point]) -> None:
        """Points that `next` gave, and whose trials could not be begun: they come first next time."""
        self._left = [*points, *self._left]

    def enter(self, points: Iterable[Point], trials: Iterable[Trial]) -> None:
        """Trials were made of points."""
        made = {tuple(trial.overrides): trial.name for trial in trials}
        for point in points:
            if point in made:
                self.points[made[point]] = point
            else:  # another point of these is the same trial
                self._study.tell(point, None)
        self._write()

    def tell(self, name: str, state: TrialState) -> None:
        """Tell the study what came of a trial that is over."""
        if state.state != "done":
            if state.state in (*FAILED, "cancelled"):
                self._study.tell(self.points[name], None)
                self._failures += state.state in FAILED
            if not self.succeeded and self._failures >= max(HOPELESS, self.at_once):
                self.why = f"all of the first {self._failures} trials failed"
            return
        sweep, metric = self._search.sweep, self._search.objective.metric
        record = read_sweep_record(sweep)
        stages = record.listed[name].stages if record else []
        value = objective_value(metric, read_trial_files(sweep, name, stages))
        self._study.tell(self.points[name], value if value is not None and math.isfinite(value) else None)
        self.succeeded = self.succeeded or value is not None
        if value is None and not self.succeeded:
            self.why = f"trial {name} is done, and has no {metric}: {self._reported(name)}"

    def _reported(self, name: str) -> str:
        """What a trial has instead of the objective."""
        (row,) = read_sweep_status(self._search.sweep, names=[name]).rows
        found = {key for one in row.files.records.values() for key in one.metrics if "valid/" in key}
        known = sorted({key.removeprefix("best ") for key in found})
        return f"sweep.objective takes one of {', '.join(known)}" if known else "it has no metric of valid"

    def _write(self) -> None:
        settings = self._search.settings
        record = SearchRecord(self._search.wanted, settings.n_trials, list(self.points))
        write_search(self._search.sweep, record)
