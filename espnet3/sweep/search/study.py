"""Optuna's study of a search: kept in memory, and rebuilt from the sweep's files at each start."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from espnet3.errors import UserError, suggestion
from espnet3.sweep.search.space import Dimension, Point

_DEFAULT_STARTUP_TRIALS = 10
"""After so many results each of Optuna's samplers chooses by itself."""
_MAX_REPEATS = 100
"""After so many repeated points the space counts as exhausted."""


class Study:
    """Optuna's ask-and-tell interface over points.

    Attributes:
        points: every point with a result or running.
    """

    def __init__(self, space: Sequence[Dimension], sampler: Mapping[str, Any], direction: str) -> None:
        """An empty study.

        Args:
            space: the dimensions.
            sampler: `hydra.sweeper.sampler`.
            direction: minimize or maximize.
        """
        self._space = list(space)
        self._sampler, self._direction = dict(sampler), direction
        self._results: dict[Point, float | None] = {}
        self._running: list[Point] = []
        self._study: Any = None
        self._numbers: dict[Point, list[int]] = {}
        self._distributions: dict[str, Any] = {}

    @property
    def points(self) -> list[Point]:
        """Every point with a result or running."""
        return [*self._results, *self._running]

    def add_running(self, point: Point) -> None:
        """Add a point that is running already."""
        if point not in self._running and point not in self._results:
            self._running.append(point)

    def tell(self, point: Point, value: float | None) -> None:
        """Set the result of a point; None if it failed."""
        self._results[point] = value
        if point in self._running:
            self._running.remove(point)
        for number in self._numbers.pop(point, []):
            self._tell(number, value)

    def ask(self) -> Point | None:
        """A new point; None if the space seems to be exhausted."""
        for _ in range(_MAX_REPEATS):
            if len(self.points) >= self._size:
                return None
            trial = self._optuna_study().ask(self._distributions)
            point = tuple(dimension.text(trial.params[dimension.key]) for dimension in self._space)
            if point in self._results:
                self._tell(trial.number, self._results[point])
                continue
            self._numbers.setdefault(point, []).append(trial.number)
            if point not in self._running:
                self._running.append(point)
                return point
        return None

    @property
    def _size(self) -> float:
        size = 1.0
        for dimension in self._space:
            size *= dimension.size
        return size

    def _tell(self, number: int, value: float | None) -> None:
        from optuna.trial import TrialState

        self._study.tell(number, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)

    def _optuna_study(self) -> Any:
        """Optuna's own study, created from all points so far when the first point is asked for."""
        if self._study is not None:
            return self._study
        import optuna
        from optuna.trial import TrialState, create_trial

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions = {dimension.key: dimension.distribution() for dimension in self._space}
        # The same seed again would give the same points again.
        sampler = sampler_of(self._sampler, seed_offset=len(self.points))
        self._study = optuna.create_study(sampler=sampler, direction=self._direction)  # type: ignore[arg-type]
        for point in self.points:
            values = [dimension.value(text) for dimension, text in zip(self._space, point, strict=True)]
            params = {dimension.key: value for dimension, value in zip(self._space, values, strict=True)}
            state, value = TrialState.RUNNING, self._results.get(point)
            if point in self._results:
                state = TrialState.FAIL if value is None else TrialState.COMPLETE
            else:
                self._numbers[point] = [len(self._study.trials)]
            self._study.add_trial(
                create_trial(state=state, value=value, params=params, distributions=self._distributions)
            )
        return self._study


def rehearse(space: Sequence[Dimension], settings: Mapping[str, Any]) -> None:
    """Let the sampler choose a point after some made-up results, as it will in the search.

    Raises:
        UserError: the options do not fit the sampler, or it can't run, such as for a missing package.
    """
    study = Study(space, {**settings, "seed": 0} if "seed" in settings else settings, "minimize")
    results = int(settings.get("n_startup_trials") or _DEFAULT_STARTUP_TRIALS) + 1
    try:
        for number in range(results):
            point = study.ask()
            if point is None:
                return
            study.tell(point, float(number))
        study.ask()
    except UserError:
        raise
    except Exception as error:  # of a library that says so only when it is asked for a point
        name = str(settings.get("_target_", "")).rpartition(".")[2]
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"hydra.sweeper.sampler: {name} can't run here: {reason}") from error


def sampler_of(settings: Mapping[str, Any], *, seed_offset: int = 0) -> Any:
    """Optuna's sampler from `hydra.sweeper.sampler`; `seed_offset` is added to its seed.

    Raises:
        UserError: the options do not fit the sampler.
    """
    from hydra.errors import HydraException
    from hydra.utils import instantiate

    _check_target(str(settings.get("_target_", "")))
    seed = settings.get("seed")
    settings_with_seed = {**settings, "seed": seed + seed_offset} if isinstance(seed, int) else dict(settings)
    try:
        return instantiate(settings_with_seed)
    except HydraException as error:
        name = str(settings.get("_target_", "")).rpartition(".")[2]
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"hydra.sweeper.sampler: {name} does not take these options: {reason}") from error


def _check_target(target: str) -> None:
    import optuna

    module, _, name = target.rpartition(".")
    try:
        getattr(importlib.import_module(module), name)
    except Exception as error:  # not by Hydra, which logs three lines of its own
        names = [f"optuna.samplers.{name}" for name in optuna.samplers.__all__ if name.endswith("Sampler")]
        hint = suggestion(target, names)
        raise UserError(
            f"hydra.sweeper.sampler._target_={target}: there is no such sampler; {hint}"
        ) from error
