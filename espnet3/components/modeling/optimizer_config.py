"""Reading the optimizer and scheduler of a configuration, and making them for a model's parameters."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from espnet3.errors import UserError

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


def given(config: Any, key: str) -> Any:
    """The value of `key` in a DictConfig, a dict or a namespace; None when it is not there."""
    if hasattr(config, "get"):
        return config.get(key)
    return getattr(config, key, None)


def is_named(config: Any) -> bool:
    """Whether `config` asks for named optimizers (`optimizers`), or for one (`optimizer`).

    Raises:
        AssertionError: single and named keys are mixed.
        ValueError: neither `optimizer` nor `optimizers` is given.
    """
    single = [key for key in ("optimizer", "scheduler") if given(config, key) is not None]
    named = [key for key in ("optimizers", "schedulers") if given(config, key) is not None]
    if single and named:
        raise AssertionError(
            "`optimizer`/`scheduler` and `optimizers`/`schedulers` exclude each other;"
            f" given: {', '.join(single + named)}"
        )
    if "optimizer" not in single and "optimizers" not in named:
        has = ", ".join(single + named) or "neither"
        raise ValueError(f"give `optimizer` or `optimizers`; the configuration has {has}")
    return bool(named)


def read_optimizer_config(config: Any) -> SingleOptimizerConfig:
    """Read and check the optimizer keys of `config`, which has a single one.

    Raises:
        AssertionError: single and named keys are mixed, or scheduler_interval is unknown.
        ValueError: `optimizer` is not given.
    """
    if is_named(config):
        raise ValueError("give `optimizer`: the configuration has named `optimizers`")
    interval = given(config, "scheduler_interval") or "step"
    if interval not in INTERVALS:
        raise AssertionError(f"scheduler_interval must be step or epoch, given: {interval!r}")
    return SingleOptimizerConfig(
        given(config, "optimizer"), given(config, "scheduler"), interval, given(config, "scheduler_monitor")
    )


def make_optimizer(config: SingleOptimizerConfig, parameters: Iterable[Parameter]) -> Optimizer:
    """Instantiate the optimizer for those of `parameters` that are trainable.

    Raises:
        AssertionError: none is trainable, `_target_` makes something else, or the optimizer evaluates the
            loss several times per step (as LBFGS), which a skipped batch could not be kept out of.
        UserError: `_target_` does not exist or refuses its options.
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise AssertionError("the model has no trainable parameter: nothing for the optimizer to update")
    optimizer = _make("optimizer", config.optimizer, trainable)
    if not isinstance(optimizer, Optimizer):
        raise AssertionError(f"optimizer._target_ makes {type(optimizer).__name__}, not a torch optimizer")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise AssertionError(
            f"{type(optimizer).__name__} evaluates the loss several times per step, which is not supported"
        )
    return optimizer


def make_scheduler(config: SingleOptimizerConfig, optimizer: Optimizer) -> dict[str, Any] | None:
    """Instantiate the scheduler, as the dict that Lightning takes; None without one.

    Raises:
        AssertionError: a ReduceLROnPlateau without `scheduler_monitor`.
        UserError: `_target_` does not exist or refuses its options.
    """
    if config.scheduler is None:
        return None
    scheduler = _make("scheduler", config.scheduler, optimizer)
    if isinstance(scheduler, ReduceLROnPlateau) and not config.monitor:
        raise AssertionError(
            "ReduceLROnPlateau needs `scheduler_monitor`, a logged metric such as valid/loss;"
            f" given: {config.monitor!r}"
        )
    result: dict[str, Any] = {"scheduler": scheduler, "interval": config.interval}
    if config.monitor:
        result["monitor"] = config.monitor
    return result


def _make(key: str, node: Any, argument: Any) -> Any:
    """Instantiate `node` with `argument` first; what goes wrong is told with the key."""
    try:
        # _convert_: a ListConfig among the options would end in checkpoints, which hold plain data only.
        return instantiate(node, argument, _convert_="all")
    except InstantiationException as error:
        raise UserError(f"{key}: {str(error.__cause__ or error).splitlines()[0]}") from error
