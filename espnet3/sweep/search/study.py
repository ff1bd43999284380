"""Optuna's study of a search: lives in memory, and is told at each start what is known from files."""

from collections.abc import Mapping, Sequence
from typing import Any

from espnet3.errors import UserError
from espnet3.sweep.search.space import Dimension, Point

_IN_A_ROW = 100
"""So often a point that is known already may be asked for before there seems to be no other."""


class Study:
    """Says which point is to be tried next, and is told what came of it.

    Attributes:
        points: every point that it was told of, or has asked for.
    """

    def __init__(self, space: Sequence[Dimension], sampler: Mapping[str, Any], direction: str) -> None:
        """A study that knows nothing yet.

        Args:
            space: what is searched.
            sampler: `hydra.sweeper.sampler`.
            direction: minimize or maximize.
        """
        self._space = list(space)
        self._sampler, self._direction = dict(sampler), direction
        self._results: dict[Point, float | None] = {}
        self._open: list[Point] = []
        self._study: Any = None
        self._numbers: dict[Point, list[int]] = {}
        self._distributions: dict[str, Any] = {}

    @property
    def points(self) -> list[Point]:
        """Every point that it was told of, or has asked for."""
        return [*self._results, *self._open]

    def know(self, point: Point) -> None:
        """A point is being tried, by whomever."""
        if point not in self._open and point not in self._results:
            self._open.append(point)

    def tell(self, point: Point, value: float | None) -> None:
        """What came of a point; None: it failed."""
        self._results[point] = value
        if point in self._open:
            self._open.remove(point)
        for number in self._numbers.pop(point, []):
            self._tell(number, value)

    def ask(self) -> Point | None:
        """A point that nobody has tried or is trying; None: there seems to be no further one."""
        for _ in range(_IN_A_ROW):
            if len(self.points) >= self._size:
                return None
            trial = self._begun().ask(self._distributions)
            point = tuple(one.text(trial.params[one.key]) for one in self._space)
            if point in self._results:
                self._tell(trial.number, self._results[point])
                continue
            self._numbers.setdefault(point, []).append(trial.number)
            if point not in self._open:
                self._open.append(point)
                return point
        return None

    @property
    def _size(self) -> float:
        size = 1.0
        for one in self._space:
            size *= one.size
        return size

    def _tell(self, number: int, value: float | None) -> None:
        from optuna.trial import TrialState

        self._study.tell(number, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)

    def _begun(self) -> Any:
        """Optuna's own study, made when the first point is asked for, of all that is known then."""
        if self._study is not None:
            return self._study
        import optuna
        from optuna.trial import TrialState, create_trial

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions = {one.key: one.distribution() for one in self._space}
        # A seed that began anew would give the same points again.
        sampler = sampler_of(self._sampler, further=len(self.points))
        self._study = optuna.create_study(sampler=sampler, direction=self._direction)  # type: ignore[arg-type]
        for point in self.points:
            values = [one.value(text) for one, text in zip(self._space, point, strict=True)]
            params = {one.key: value for one, value in zip(self._space, values, strict=True)}
            state, value = TrialState.RUNNING, self._results.get(point)
            if point in self._results:
                state = TrialState.FAIL if value is None else TrialState.COMPLETE
            else:
                self._numbers[point] = [len(self._study.trials)]
            self._study.add_trial(
                create_trial(state=state, value=value, params=params, distributions=self._distributions)
            )
        return self._study


def sampler_of(settings: Mapping[str, Any], *, further: int = 0) -> Any:
    """Optuna's sampler from `hydra.sweeper.sampler`; a seed is raised by `further`.

    Raises:
        UserError: it can't be made from these options.
    """
    from hydra.errors import HydraException
    from hydra.utils import instantiate

    seed = settings.get("seed")
    given = {**settings, "seed": seed + further} if isinstance(seed, int) else dict(settings)
    try:
        return instantiate(given)
    except HydraException as error:
        name = str(settings.get("_target_", "")).rpartition(".")[2]
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"hydra.sweeper.sampler: {name} can't be made so: {reason}") from error
