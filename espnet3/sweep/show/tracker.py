"""Shows the progress of running trials: a line per change of state, and one progress bar."""

from collections import Counter
from collections.abc import Iterable
from types import TracebackType

from espnet3.sweep.show.states import State, TrialState
from espnet3.sweep.show.table import counted
from espnet3.terminal.screen import ProgressBar, Screen, show


class Tracker:
    """Follows the states of some trials."""

    def __init__(self, screen: Screen, names: Iterable[str], metric: str, *, total: int = 0) -> None:
        """Follow `names`; `total` counts those added later, too."""
        self.states: dict[str, TrialState] = {name: TrialState("missing") for name in names}
        self._total = total
        self._screen, self._metric = screen, metric
        self._bar = ProgressBar(screen, "sweep")
        self._ended: set[State] = {"done", "failed", "diverged", "killed", "cancelled", "stopped"}

    def __enter__(self) -> "Tracker":
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def add(self, name: str) -> None:
        """Follow another trial, or one that starts again."""
        self.states[name] = TrialState("missing")

    def update(self, name: str, state: TrialState, objective: float | None = None) -> None:
        """Set the state of a trial; prints a line if it has changed."""
        before, total = self.states[name], max(self._total, len(self.states))
        self.states[name] = state
        if state.state != before.state and (state.state in self._ended or state.state == "running"):
            ended = sum(trial_state.state in self._ended for trial_state in self.states.values())
            value = f", {self._metric} {show(objective)}" if objective is not None else ""
            count = f" ({ended} of {total})" if state.state in self._ended else ""
            self._screen.line(f"trial {name}: {state}{value}{count}")
        counts = Counter(trial_state.state for trial_state in self.states.values())
        done = sum(counts[state] for state in self._ended)
        self._bar.show({"done": done, "total": total})
        self._bar.say(counted(counts))
