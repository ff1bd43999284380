"""Which parameters a backward pass that is restricted to one optimizer's parameters reaches."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import Parameter

from espnet3.errors import UserError

MOST_SHOWN = 5


def unreached(loss: Tensor, parameters: Mapping[str, Parameter]) -> tuple[list[str], bool]:
    """The names of the parameters that the graph of `loss` does not lead to, and whether it is checkpointed.

    Reentrant activation checkpointing (`use_reentrant=True`) puts one node into the graph in place of its
    part of the model, whose parameters are behind that node and not in the graph.
    """
    reached: set[Tensor] = set()
    has_checkpoint = False
    seen: set[Any] = set()
    ahead = [loss.grad_fn] if loss.grad_fn is not None else []
    while ahead:
        node = ahead.pop()
        if node in seen:
            continue
        seen.add(node)  # keeps the object, and with it its identity
        if hasattr(node, "variable"):
            reached.add(node.variable)
        has_checkpoint |= "CheckpointFunction" in type(node).__name__
        ahead += [inner for inner, _ in node.next_functions if inner is not None]
    return [name for name, parameter in parameters.items() if parameter not in reached], has_checkpoint


def check_reached(optimizer: str, loss: Tensor, parameters: Mapping[str, Parameter]) -> str | None:
    """Check that a loss trains the parameters of the optimizer that it names.

    Returns:
        A warning, where some of them have no influence on the loss.

    Raises:
        UserError: some are hidden behind reentrant activation checkpointing: they would get no gradient.
    """
    names, has_checkpoint = unreached(loss, parameters)
    if not names:
        return None
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    shown = ", ".join(names[:MOST_SHOWN]) + more
    if has_checkpoint:
        raise UserError(
            f"optimizer {optimizer!r} would not train {shown}: reentrant activation checkpointing hides them"
            " from a backward pass for one optimizer; give torch.utils.checkpoint use_reentrant=False"
        )
    which = "none of its parameters has" if len(names) == len(parameters) else f"{shown} have no"
    return f"optimizer {optimizer}: {which} influence on its first loss"
