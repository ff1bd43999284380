"""The search itself: has the trials that its ledger chooses run, here or on Slurm, until all are there."""

import time
from collections.abc import Iterator, Mapping

from espnet3.errors import UserError, short_path
from espnet3.launcher.follow.jobs import DETACHED_BY_CTRL_C
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.submit.submission import SubmissionRefused
from espnet3.outcomes.exit_code import exit_code_of_all
from espnet3.slurm.allocation import Allocation
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.patience import Patience
from espnet3.sweep.command import messages, write_planned
from espnet3.sweep.execute.local_trials import LocalTrial, run_here
from espnet3.sweep.jobs.plan import Batch
from espnet3.sweep.jobs.shared import run_shared
from espnet3.sweep.run import SweepOptions, choose, how_to_follow, plan_and_check, start
from espnet3.sweep.search.folder import made
from espnet3.sweep.search.ledger import FAILED, Ledger
from espnet3.sweep.search.planned import PlannedSearch, plan_search
from espnet3.sweep.search.space import Point
from espnet3.sweep.show.results import read_sweep_status
from espnet3.sweep.show.searcher import at_work
from espnet3.sweep.show.states import TrialState
from espnet3.sweep.show.table import sweep_table
from espnet3.sweep.show.tracker import Tracker
from espnet3.sweep.show.watch import watch_trials
from espnet3.sweep.trials.search_record import SearchRequest, how_to_go_on, search_dir
from espnet3.sweep.trials.trial import Base
from espnet3.terminal.screen import Screen

_AGAIN_AFTER_S = 15.0
"""While Slurm is away, or has no room."""


def run_search(
    wanted: SearchRequest,
    screen: Screen,
    *,
    allocation: Allocation | None = None,
    again: bool = False,
    wait: bool = False,
) -> int:
    """Search until as many trials have ended as are wanted.

    Args:
        wanted: what the command asks for.
        screen: where it is shown.
        allocation: the one this process is in.
        again: run once more what has failed before.
        wait: for another process that searches here, which is about to end.

    Returns:
        The exit code.

    Raises:
        UserError: for what can be known before anything is started, or Slurm refuses.
    """
    planned = plan_search(wanted, allocation)
    who = "" if wait else Patience().until_answered(lambda: at_work(planned.sweep))
    if who:
        where = short_path(planned.sweep)
        raise UserError(
            f"the search is under way, by {who}: `espnet3 logs -f {where}` follows it, and"
            f" `espnet3 cancel {where}` ends it"
        )
    with made(planned.sweep), hold_directory(search_dir(planned.sweep), screen, wait=wait):
        return Search(planned, screen, again=again).run()


class Search:
    """One process's search, while it holds `search/`."""

    def __init__(self, planned: PlannedSearch, screen: Screen, *, again: bool) -> None:
        self._search, self._screen = planned, screen
        self._sweep = planned.sweep
        self._asked = SweepOptions(
            planned.wanted.stages, planned.wanted.command, allocation=planned.allocation
        )
        self._trials = Ledger(planned, screen, again=again)

    def run(self) -> int:
        """Search; returns the exit code."""
        trials = self._trials
        try:
            if not self._search.on_slurm:
                with hold_directory(self._sweep, self._screen, wait=False):
                    trials.read_back()
                    return self._end(self._here())
            with hold_directory(self._sweep, self._screen, wait=True):
                Patience().until_answered(trials.read_back)
            return self._end(self._on_slurm())
        except KeyboardInterrupt:
            open_ones = f"{len(trials.open)} trials go on" if trials.open else "no trial is under way"
            self._screen.line(f"detached: {open_ones}, but the search does not: {how_to_go_on(self._sweep)}")
            self._screen.line(how_to_follow(self._sweep))
            return DETACHED_BY_CTRL_C
        except UserError:
            if trials.points:
                self._screen.line(f"the search has ended early: {how_to_go_on(self._sweep)}")
            raise

    def _plan(self, points: list[Point]) -> tuple[list[Batch], Mapping[str, Base]]:
        """Make trials of points, written down and checked; the caller holds the sweep."""
        planned = self._search.plan(points)
        if not self._trials.points:
            for line in messages(planned):
                self._screen.line(line)
        chosen = choose(self._sweep, planned.trials, planned.extended.record, force=False)
        batches = plan_and_check(self._sweep, chosen.to_run, planned.bases, self._asked)
        write_planned(planned, [trial.name for trial in chosen.to_run])
        self._trials.enter(points, planned.trials)
        self._trials.open += chosen.under_way
        for name in chosen.done:
            self._trials.tell(name, TrialState("done"))
        return batches, planned.bases

    # --- on this machine

    def _here(self) -> int:
        """Run trials here until there is none left to run."""
        first = self._trials.next(self._trials.at_once)
        if not first:
            return 0
        batches, bases = self._plan(first)
        for batch in batches:
            if batch.shared is not None:
                code, _ = run_shared(
                    self._sweep, batch.shared, bases[batch.shared.trial.config],
                    force=False, command=[self._asked.command], screen=self._screen,
                )  # fmt: skip
                if code:
                    return code
        with self._tracker() as tracker:
            return run_here(
                self._sweep,
                self._to_run(batches, tracker),
                tracker,
                at_once=self._trials.at_once,
                force=False,
                command=self._asked.command,
                ended=lambda name: self._trials.tell(name, tracker.states[name]),
            )

    def _to_run(self, batches: list[Batch], tracker: Tracker) -> Iterator[LocalTrial]:
        """The trials of `batches`, and then one after the other whatever is to be tried next."""
        while True:
            for batch in batches:
                for trial in batch.trials:
                    tracker.add(trial.name)
                    yield LocalTrial(trial.name, batch.stages)
            points = self._trials.next(1)
            if not points:
                return
            batches, _ = self._plan(points)

    # --- on Slurm

    def _on_slurm(self) -> int:
        """Submit trials, and follow them until none is left to run."""
        trials = self._trials
        with self._tracker() as tracker:
            while True:
                code = self._submit(trials.next(trials.at_once - len(trials.open)), tracker)
                if code:
                    return code
                if trials.open:
                    for name in watch_trials(self._sweep, trials.open, tracker, self._screen, one=True):
                        trials.open.remove(name)
                        trials.tell(name, tracker.states[name])
                elif trials.is_over:
                    return 0
                elif trials.has_left:
                    time.sleep(_AGAIN_AFTER_S)

    def _submit(self, points: list[Point], tracker: Tracker) -> int:
        """Hand the trials at `points` to Slurm; those that it does not take now are left for later.

        Raises:
            SubmissionRefused: while nothing is under way that could make room.
        """
        if not points:
            return 0
        trials = self._trials
        try:
            with hold_directory(self._sweep, self._screen, wait=True):
                batches, bases = self._plan(points)
                started = start(self._sweep, batches, bases, self._asked, self._screen)
        except SlurmAway as error:
            if not trials.points:
                raise
            self._screen.line(f"Slurm is away: {error}; the search goes on when it is back")
            trials.put_off(points)
            return 0
        except SubmissionRefused as error:
            if not trials.open:
                raise
            self._screen.line(f"Slurm takes no more trials: {error}; {len(trials.open)} at once from now on")
            trials.at_once = len(trials.open)
            trials.put_off(points)
            return 0
        if started.code:
            return started.code
        waiting = {name for one in started.queued.waiting for name in one.part.trials}
        trials.put_off(trials.points[name] for name in waiting)
        trials.open += started.queued.names
        for name in trials.open:
            if name not in tracker.states or name in started.queued.names:
                tracker.add(name)
        return 0

    # --- how it goes, and ends

    def _tracker(self) -> Tracker:
        objective, wanted = self._search.objective, self._search.settings.n_trials
        return Tracker(self._screen, list(self._trials.open), objective.metric, total=wanted)

    def _end(self, code: int) -> int:
        """Show the table, and say what is left; the exit code."""
        seen = read_sweep_status(self._sweep)
        for line in sweep_table(seen):
            self._screen.styled(line)
        states = [row.state.state for row in seen.rows if row.name in self._trials.points]
        if self._trials.why:
            self._screen.line(f"the search ends here: {self._trials.why}")
        if code or self._trials.has_left or any(one in ("stopped", "missing", "cancelled") for one in states):
            self._screen.line(how_to_go_on(self._sweep))
        elif any(one in FAILED for one in states):
            where = short_path(self._sweep)
            self._screen.line(f"`espnet3 resume {where}` runs once more what has failed")
        if code:
            return code
        return exit_code_of_all(states) or int(not self._trials.succeeded)
