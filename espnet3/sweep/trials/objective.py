"""The objective of a sweep: a metric of the valid split, never of the test split."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from espnet3.errors import UserError

DIRECTIONS = {"min": "minimize", "max": "maximize"}


@dataclass(frozen=True)
class Objective:
    """The metric that trials are compared by, and its direction."""

    metric: str
    direction: str
    """minimize or maximize."""

    def is_better(self, value: float, reference: float) -> bool:
        """Whether `value` is better than `reference`."""
        return value < reference if self.direction == "minimize" else value > reference


def read_objective(config: DictConfig) -> Objective:
    """As `sweep.objective` and `sweep.direction` say, or else `checkpoint`.

    Raises:
        UserError: no direction is given.
    """
    metric, direction = config.sweep.objective, config.sweep.direction
    monitor = str(config.checkpoint.monitor)
    if metric in (None, monitor):
        return Objective(monitor, str(direction or DIRECTIONS[config.checkpoint.mode]))
    if direction is None:
        raise UserError(
            f"sweep.objective={metric}: give sweep.direction=minimize or maximize, too (checkpoint.mode is"
            f" that of checkpoint.monitor={monitor})"
        )
    return Objective(str(metric), str(direction))


def objective_from_metrics(
    metric: str, train: Mapping[str, Any], validate: Mapping[str, Any]
) -> float | None:
    """The objective of a trial from what its stages measured: of the best checkpoint, if there is one.

    Args:
        metric: its name.
        train: metrics of the record of stage 2.
        validate: metrics of the record of stage 3.
    """
    for value in (validate.get(metric), train.get(f"best {metric}"), train.get(metric)):
        if isinstance(value, int | float):
            return float(value)
    return None
