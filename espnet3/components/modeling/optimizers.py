"""Makes torch optimizers and their schedulers from nodes of a configuration."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
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

    Args:
        where: the key of the configuration, for errors.
        node: `{_target_: …}`; gets the optimizer first, and `length=` where it takes that.
        optimizer: whose learning rates it sets.
        length: returns the length of the training; called only where the scheduler takes `length`.

    Raises:
        ConfigurationError: `_target_` makes no scheduler.
        UserError: `_target_` does not exist or refuses its options.
    """
    more = {"length": length()} if length is not None and _takes_length(node) else {}
    scheduler = _make(where, node, optimizer, **more)
    if not callable(getattr(scheduler, "step", None)):
        raise ConfigurationError(f"{where} makes {type(scheduler).__name__}, which is not a scheduler")
    return scheduler


def _takes_length(node: Any) -> bool:
    try:
        return "length" in inspect.signature(get_object(node["_target_"])).parameters
    except Exception:  # instantiating it will report what is wrong
        return False


def _make(where: str, node: Any, argument: Any, **more: Any) -> Any:
    """Instantiate `node` with `argument` first; errors name the key."""
    try:
        # _convert_: a ListConfig among the options would end in checkpoints, which hold plain data only.
        # _partial_: Hydra would make a dict of an argument that is a dataclass.
        return instantiate(node, _partial_=True, _convert_="all")(argument, **more)
    except Exception as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else None
        raise UserError(f"{where}: {str(cause or error).splitlines()[0]}") from error
