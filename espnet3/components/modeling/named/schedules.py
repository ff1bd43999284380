"""Learning-rate schedulers of named optimizers, and when each is stepped."""

import inspect
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from espnet3.components.modeling.optimizers import make_scheduler, step_scheduler
from espnet3.config.checks.named_optimizers import NamedSchedulerConfig, check_gets_metric
from espnet3.errors import ConfigurationError

NewValue = Callable[[str, str], Any | None]
"""From a key of the configuration, for errors, and the metric that it names, to the metric's value; None
when this epoch made no new one."""


class Schedule:
    """One scheduler and when it is stepped.

    Raises:
        ConfigurationError: a scheduler that takes a metric has no monitor, or has interval step; or one with
            a monitor takes none.
    """

    def __init__(self, config: NamedSchedulerConfig, optimizer: Optimizer) -> None:
        self.config = config
        where = f"schedulers.{config.name}"
        self.scheduler = make_scheduler(f"{where}.scheduler", config.scheduler, optimizer)
        kind = type(self.scheduler).__name__
        takes_metric = _takes_metric(self.scheduler)
        if takes_metric == "always":
            check_gets_metric(config, kind)
        if takes_metric == "never" and config.monitor is not None:
            raise ConfigurationError(
                f"{where}: {kind} takes no metric: leave out `monitor`; given: {config.monitor!r}"
            )

    def after_update(self) -> None:
        """Its optimizer has updated its parameters."""
        if self.config.interval == "step":
            self._step()

    def after_epoch(self, new_value: NewValue) -> None:
        """An epoch has ended, with its metrics aggregated."""
        if self.config.interval != "epoch":
            return
        if self.config.monitor is None:
            self._step()
            return
        value = new_value(f"schedulers.{self.config.name}.monitor", self.config.monitor)
        if value is not None:
            self._step(value)

    def _step(self, *metric: Any) -> None:
        step_scheduler(f"schedulers.{self.config.name}.scheduler", self.scheduler, *metric)


def _takes_metric(scheduler: Any) -> str:
    """`always`, `never`, or `may`: from the signature of its `step`."""
    if isinstance(scheduler, ReduceLROnPlateau):
        return "always"
    parameters = list(inspect.signature(scheduler.step).parameters.values())
    if not parameters or parameters[0].name == "epoch":
        return "never"  # torch's own: a metric would be taken for the number of an epoch
    return "always" if parameters[0].default is inspect.Parameter.empty else "may"
