"""Makes torch optimizers and their schedulers from nodes of a configuration."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, ListConfig
from torch.nn import Parameter
from torch.optim import Optimizer

from espnet3.components.modeling.training_length import TrainingLength
from espnet3.errors import ConfigurationError, UserError


def make_optimizer(where: str, node: Any, parameters: Iterable[Parameter]) -> Optimizer:
    """Instantiate the optimizer of these parameters.

    Args:
        where: the key of the configuration, for errors.
        node: `{_target_: …}`; gets the parameters first.
        parameters: what it is to update.

    Raises:
        ConfigurationError: `_target_` makes something else, or the optimizer evaluates the loss several times
            per step (as LBFGS), so that a batch could not be skipped.
        UserError: `_target_` does not exist or refuses its options.
    """
    optimizer = _make(where, node, list(parameters))
    if not isinstance(optimizer, Optimizer):
        raise ConfigurationError(f"{where} makes {type(optimizer).__name__}, not a torch optimizer")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ConfigurationError(
            f"{where}: {type(optimizer).__name__} evaluates the loss several times per step, which is not"
            " supported"
        )
    return optimizer


def make_scheduler(
    where: str, node: Any, optimizer: Optimizer, length: Callable[[], TrainingLength] | None = None
) -> Any:
    """Instantiate a scheduler of the optimizer.

    Schedulers among its arguments, as SequentialLR and ChainedScheduler have them, are made in the same way.

    Args:
        where: the key of the configuration, for errors.
        node: `{_target_: …}`; gets the optimizer, and `length=` where it takes that.
        optimizer: whose learning rates it sets.
        length: returns the length of the training; called only where the scheduler takes `length`.

    Raises:
        ConfigurationError: `_target_` makes no scheduler.
        UserError: `_target_` does not exist or refuses its options.
    """

    def made(key: str, inner: Any) -> Any:
        return make_scheduler(f"{where}.{key}", inner, optimizer, length)

    more: dict[str, Any] = {"length": length()} if length is not None and _takes(node, "length") else {}
    for key, value in node.items():
        if _takes(value, "optimizer"):
            more[key] = made(key, value)
        elif isinstance(value, list | ListConfig) and any(_takes(inner, "optimizer") for inner in value):
            more[key] = [made(f"{key}[{number}]", inner) for number, inner in enumerate(value)]
    own = {key: value for key, value in node.items() if key not in more}
    scheduler = (
        _make(where, own, optimizer=optimizer, **more)
        if _takes(node, "optimizer")  # it need not be the first: ChainedScheduler
        else _make(where, own, optimizer, **more)
    )
    if not callable(getattr(scheduler, "step", None)):
        raise ConfigurationError(f"{where} makes {type(scheduler).__name__}, which is not a scheduler")
    return scheduler


def step_scheduler(where: str, scheduler: Any, *metric: Any) -> None:
    """Step a scheduler.

    Raises:
        RuntimeError: from what it raised itself, with the key and the class of the scheduler.
    """
    try:
        scheduler.step(*metric)
    except Exception as error:
        kind = type(scheduler).__name__
        raise RuntimeError(f"{where}: {kind}.step(): {type(error).__name__}: {error}") from error


def _takes(node: Any, argument: str) -> bool:
    """Whether a node makes something by a class or function that has this argument."""
    if not isinstance(node, Mapping | DictConfig) or "_target_" not in node:
        return False
    try:
        return argument in inspect.signature(get_object(node["_target_"])).parameters
    except Exception:  # instantiating it will report what is wrong
        return False


def _make(where: str, node: Any, *first: Any, **more: Any) -> Any:
    """Instantiate `node` with further arguments; errors name the key."""
    try:
        # _convert_: a ListConfig among the options would end in checkpoints, which hold plain data only.
        # _partial_: Hydra would make a dict of an argument that is a dataclass.
        return instantiate(node, _partial_=True, _convert_="all")(*first, **more)
    except Exception as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else None
        reason = cause or error
        first_line = next(iter(str(reason).splitlines()), "") or type(reason).__name__
        raise UserError(f"{where}: {first_line}") from error
