"""What the trials of a sweep are compared by: a metric of the valid split, never one of test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from espnet3.errors import UserError

DIRECTIONS = {"min": "minimize", "max": "maximize"}


@dataclass(frozen=True)
class Objective:
    """A metric, and which way it is better."""

    metric: str
    direction: str
    """minimize or maximize."""

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is better than `other`."""
        return one < other if self.direction == "minimize" else one > other


def read_objective(config: DictConfig) -> Objective:
    """As `sweep.objective` and `sweep.direction` say, or else `checkpoint`.

    Raises:
        UserError: an objective of which nobody says which way it is better.
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


def value_of(metric: str, train: Mapping[str, Any], validate: Mapping[str, Any]) -> float | None:
    """The objective of a trial from what its stages measured: of the best checkpoint, where there is one.

    Args:
        metric: its name.
        train: metrics of the record of stage 2.
        validate: metrics of the record of stage 3.
    """
    for value in (validate.get(metric), train.get(f"best {metric}"), train.get(metric)):
        if isinstance(value, int | float):
            return float(value)
    return None
