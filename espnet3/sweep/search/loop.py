"""Run a search: start the trials that the sampler chooses, locally or on Slurm, until all have ended."""

import time
from collections.abc import Iterator, Mapping

from espnet3.errors import UserError, command_path
from espnet3.launcher.follow.jobs import DETACHED_BY_CTRL_C, print_commands
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.submit.submission import SubmissionRefused
from espnet3.number_text import counted
from espnet3.outcomes.exit_code import exit_code_of_all
from espnet3.rundir.records.outcome import EXIT_CODES
from espnet3.slurm.allocation import Allocation
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.retry import SlurmRetry
from espnet3.sweep.command import messages, write_planned
from espnet3.sweep.execute.local_trials import LocalTrial, run_local_trials
from espnet3.sweep.jobs.plan import Batch
from espnet3.sweep.jobs.shared import each_by_itself, run_shared
from espnet3.sweep.run import SweepOptions, plan_and_check, select_trials, start
from espnet3.sweep.search.folder import search_folder
from espnet3.sweep.search.planned import PlannedSearch, plan_search
from espnet3.sweep.search.space import Point
from espnet3.sweep.search.state import SearchState
from espnet3.sweep.show.results import read_sweep_status
from espnet3.sweep.show.searcher import describe_searcher
from espnet3.sweep.show.states import FAILED, TrialState
from espnet3.sweep.show.table import sweep_table
from espnet3.sweep.show.tracker import Tracker
from espnet3.sweep.show.watch import watch_trials
from espnet3.sweep.trials.search_record import SearchRequest, how_to_continue, search_dir
from espnet3.sweep.trials.trial import Base
from espnet3.terminal.screen import Screen

_RETRY_AFTER_S = 15.0
"""Pause while Slurm is away or takes no more jobs."""


def run_search(
    request: SearchRequest,
    screen: Screen,
    *,
    allocation: Allocation | None = None,
    retry_failed: bool = False,
    wait: bool = False,
) -> int:
    """Search until the requested number of trials has ended.

    Args:
        request: the search that the command asks for.
        screen: where progress is shown.
        allocation: the one this process is in.
        retry_failed: run failed trials again.
        wait: wait for another searching process, which is about to end.

    Returns:
        The exit code.

    Raises:
        UserError: for what can be known before anything is started, or Slurm refuses.
    """
    planned = plan_search(request, allocation) if wait else plan_idle_search(request, allocation)
    with search_folder(planned.sweep), hold_directory(search_dir(planned.sweep), screen, wait=wait):
        return Search(planned, screen, retry_failed=retry_failed).run()


def plan_idle_search(request: SearchRequest, allocation: Allocation | None) -> PlannedSearch:
    """Plan a search that no process or job is running.

    Raises:
        UserError: a mistake in it, or it is under way.
    """
    planned = plan_search(request, allocation)
    searcher = SlurmRetry().until_answered(lambda: describe_searcher(planned.sweep))
    if searcher:
        where = command_path(planned.sweep)
        raise UserError(
            f"the search is under way, by {searcher}: `espnet3 logs -f {where}` follows it, and"
            f" `espnet3 cancel {where}` ends it"
        )
    return planned


class Search:
    """A running search; this process holds the claim on `search/`."""

    def __init__(self, planned: PlannedSearch, screen: Screen, *, retry_failed: bool) -> None:
        self._search, self._screen = planned, screen
        self._sweep = planned.sweep
        self._options = SweepOptions(
            planned.request.stages, planned.request.command, allocation=planned.allocation
        )
        self._state = SearchState(planned, screen, retry_failed=retry_failed)

    def run(self) -> int:
        """Run the search; returns the exit code."""
        state = self._state
        try:
            if not self._search.on_slurm:
                with hold_directory(self._sweep, self._screen, wait=False):
                    state.restore()
                    return self._end(self._run_locally())
            with hold_directory(self._sweep, self._screen, wait=True):
                SlurmRetry().until_answered(state.restore)
            return self._end(self._on_slurm())
        except KeyboardInterrupt:
            remaining = _remaining(len(state.under_way))
            self._screen.line(
                f"detached: {remaining}, but the search does not: {how_to_continue(self._sweep)}"
            )
            print_commands(self._sweep, self._screen)
            return DETACHED_BY_CTRL_C
        except UserError:
            if state.points:
                self._screen.line(f"the search has ended early: {how_to_continue(self._sweep)}")
            raise

    def _plan(self, points: list[Point]) -> tuple[list[Batch], Mapping[str, Base]]:
        """Create and check the trials of points, and write their files; the caller holds the sweep."""
        planned = self._search.plan(points)
        if not self._state.points:
            for line in messages(planned):
                self._screen.line(line)
        chosen = select_trials(self._sweep, planned.trials, planned.extended.record, force=False)
        batches = plan_and_check(self._sweep, chosen.to_run, planned.bases, self._options)
        write_planned(planned, [trial.name for trial in chosen.to_run])
        self._state.add_trials(points, planned.trials)
        self._state.under_way += chosen.under_way
        for name in chosen.done:
            self._state.tell(name, TrialState("done"))
        for name in chosen.diverged:
            self._state.tell(name, TrialState("diverged"))
        return batches, planned.bases

    # --- on this machine

    def _run_locally(self) -> int:
        """Run trials on this machine until none is left; returns the exit code."""
        first = self._state.next_points(self._state.at_once)
        if not first:
            return 0
        batches, bases = self._plan(first)
        for number, batch in enumerate(batches):
            if batch.shared is None:
                continue
            base = bases[batch.shared.trial.config]
            code, _ = run_shared(
                self._sweep, batch.shared, base,
                force=False, command=[self._options.command], screen=self._screen,
            )  # fmt: skip
            if code:
                failed = code == EXIT_CODES["failed"]
                alone = each_by_itself(self._sweep, batch, base, self._screen) if failed else None
                if alone is None:
                    return code
                batches[number] = alone
        with self._tracker() as tracker:
            return run_local_trials(
                self._sweep,
                self._next_local_trials(batches, tracker),
                tracker,
                at_once=self._state.at_once,
                force=False,
                command=self._options.command,
                on_end=lambda name: self._state.tell(name, tracker.states[name]),
            )

    def _next_local_trials(self, batches: list[Batch], tracker: Tracker) -> Iterator[LocalTrial]:
        """The trials of `batches`, then the next points of the search, one at a time."""
        while True:
            for batch in batches:
                for trial in LocalTrial.all_of(batch):
                    tracker.add(trial.name)
                    yield trial
            points = self._state.next_points(1)
            if not points:
                return
            batches, _ = self._plan(points)

    # --- on Slurm

    def _on_slurm(self) -> int:
        """Submit trials and follow them until none is left; returns the exit code."""
        state = self._state
        with self._tracker() as tracker:
            while True:
                code = self._submit(state.next_points(state.at_once - len(state.under_way)), tracker)
                if code:
                    return code
                if state.under_way:
                    for name in watch_trials(
                        self._sweep, state.under_way, tracker, self._screen, until_first_end=True
                    ):
                        state.under_way.remove(name)
                        state.tell(name, tracker.states[name])
                elif state.is_over:
                    return 0
                elif state.has_unfinished:
                    time.sleep(_RETRY_AFTER_S)

    def _submit(self, points: list[Point], tracker: Tracker) -> int:
        """Submit the trials at `points`; those that Slurm does not take now are postponed.

        Raises:
            SubmissionRefused: Slurm takes no trial, and none is under way.
        """
        if not points:
            return 0
        state = self._state
        try:
            with hold_directory(self._sweep, self._screen, wait=True):
                batches, bases = self._plan(points)
                started = start(self._sweep, batches, bases, self._options, self._screen)
        except SlurmAway as error:
            if not state.points:
                raise
            self._screen.line(f"Slurm is away: {error}; the search goes on when it is back")
            state.postpone(points)
            return 0
        except SubmissionRefused as error:
            if not state.under_way:
                raise
            self._screen.line(
                f"Slurm takes no more trials: {error}; {len(state.under_way)} at once from now on"
            )
            state.at_once = len(state.under_way)
            state.postpone(points)
            return 0
        if started.code:
            return started.code
        waiting = {name for array in started.queued.waiting for name in array.part.trials}
        state.postpone(state.points[name] for name in waiting)
        state.under_way += started.queued.names
        for name in state.under_way:
            if name not in tracker.states or name in started.queued.names:
                tracker.add(name)
        return 0

    # --- progress and end

    def _tracker(self) -> Tracker:
        objective, n_trials = self._search.objective, self._search.settings.n_trials
        return Tracker(self._screen, list(self._state.under_way), objective.metric, total=n_trials)

    def _end(self, code: int) -> int:
        """Show the table and what is left to do; returns the exit code."""
        status = read_sweep_status(self._sweep)
        for line in sweep_table(status, self._screen.width):
            self._screen.styled(line)
        states = [row.state.state for row in status.rows if row.name in self._state.points]
        if self._state.stop_reason:
            self._screen.line(f"the search ends here: {self._state.stop_reason}")
        if (
            code
            or self._state.has_unfinished
            or any(state in ("stopped", "missing", "cancelled") for state in states)
        ):
            self._screen.line(how_to_continue(self._sweep))
        elif any(state in FAILED for state in states):
            where = command_path(self._sweep)
            self._screen.line(f"`espnet3 resume {where}` runs the failed trials again")
        if code:
            return code
        return exit_code_of_all(states) or int(not self._state.succeeded)


def _remaining(count: int) -> str:
    verb = "goes" if count == 1 else "go"
    return f"{counted(count, 'trial')} {verb} on" if count else "no trial is under way"
