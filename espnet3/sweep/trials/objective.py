"""The objective of a sweep: a metric of the valid split, never of the test split."""

from dataclasses import dataclass

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
