"""Reads and checks the optimizers of a configuration: a single one, or named ones."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from espnet3.config.checks.named_optimizers import is_plateau, read_named_config
from espnet3.config.checks.trainer_keys import check_trainer_for_named
from espnet3.config.config_value import config_value
from espnet3.errors import ConfigurationError, UserError

INTERVALS = ("step", "epoch")


@dataclass(frozen=True)
class SingleOptimizerConfig:
    """The keys `optimizer`, `scheduler`, `scheduler_interval` and `scheduler_monitor`."""

    optimizer: Any
    """`{_target_: …}`; gets the trainable parameters."""
    scheduler: Any | None
    """`{_target_: …}`; gets the optimizer. None leaves the learning rate alone."""
    interval: str
    """`step`: after every update of the parameters; `epoch`: at the end of every epoch."""
    monitor: str | None
    """The logged metric that a ReduceLROnPlateau looks at."""


def is_named(config: Any) -> bool:
    """Whether `config` has named optimizers (`optimizers`) or a single one (`optimizer`).

    Raises:
        ConfigurationError: single and named keys are mixed.
        ValueError: neither `optimizer` nor `optimizers` is given.
    """
    single = [key for key in ("optimizer", "scheduler") if config_value(config, key) is not None]
    named = [key for key in ("optimizers", "schedulers") if config_value(config, key) is not None]
    if single and named:
        raise ConfigurationError(
            "`optimizer`/`scheduler` and `optimizers`/`schedulers` exclude each other;"
            f" given: {', '.join(single + named)}"
        )
    if "optimizer" not in single and "optimizers" not in named:
        has = ", ".join(single + named) or "neither"
        raise ValueError(f"give `optimizer` or `optimizers`; the configuration has {has}")
    return bool(named)


def read_single_config(config: Any) -> SingleOptimizerConfig:
    """Read and check the optimizer keys of `config`, which has a single one.

    Raises:
        ConfigurationError: single and named keys are mixed, scheduler_interval is unknown, or a
            ReduceLROnPlateau has no `scheduler_monitor`, or looks at a metric of valid after every step.
        ValueError: `optimizer` is not given.
    """
    if is_named(config):
        raise ValueError("give `optimizer`: the configuration has named `optimizers`")
    interval = config_value(config, "scheduler_interval") or "step"
    if interval not in INTERVALS:
        raise ConfigurationError(f"scheduler_interval must be step or epoch, given: {interval!r}")
    scheduler, monitor = config_value(config, "scheduler"), config_value(config, "scheduler_monitor")
    single = SingleOptimizerConfig(config_value(config, "optimizer"), scheduler, interval, monitor)
    if is_plateau(scheduler):
        check_plateau(single)
    return single


def check_plateau(config: SingleOptimizerConfig) -> None:
    """Refuse a ReduceLROnPlateau that would get no metric.

    Raises:
        ConfigurationError: it has no monitor, or one of valid, which no step has, with interval step.
    """
    if not config.monitor:
        raise ConfigurationError(
            "ReduceLROnPlateau needs `scheduler_monitor`, a logged metric such as valid/loss;"
            f" given: {config.monitor!r}"
        )
    if config.interval == "step" and config.monitor.startswith("valid/"):
        raise ConfigurationError(
            f"scheduler_monitor={config.monitor} is new once per epoch: give scheduler_interval: epoch;"
            " given: step, the default"
        )


def check_optimizers(config: DictConfig) -> None:
    """Check the optimizers, and that `trainer` is compatible with them, as far as possible without the model.

    Raises:
        UserError: optimizers or schedulers are missing or invalid.
    """
    try:
        if is_named(config):
            read_named_config(config)
            check_trainer_for_named(config.trainer)
        else:
            read_single_config(config)
    except (ValueError, RuntimeError) as error:
        raise UserError(str(error)) from error
