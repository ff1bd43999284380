"""What the graph of a loss reaches; nothing is computed and nothing is read from a device."""

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import Parameter

from espnet3.errors import UserError, first_of

MOST_SHOWN = 5


def nodes_of(loss: Tensor) -> set[Node]:
    """Every node of the loss's graph, those that accumulate gradients included; about 1 µs for each."""
    found: set[Node] = set()
    open_nodes = [] if loss.grad_fn is None else [loss.grad_fn]
    while open_nodes:
        node = open_nodes.pop()
        if node not in found:
            found.add(node)
            open_nodes += [following for following, _ in node.next_functions if following is not None]
    return found


def is_worth_looking(losses: Sequence[Tensor]) -> bool:
    """Whether memory that a backward pass frees early is worth a look at the graphs of several losses.

    On the CPU, where a training seldom lacks memory, the look would take a part of each batch.
    """
    return len(losses) > 1 and losses[0].device.type != "cpu"


def shared_with_later(losses: Sequence[Tensor]) -> list[bool]:
    """Whether the graph of each loss has a part in common with that of a later one, apart from parameters.

    A backward pass may then not free what the graph holds.
    """
    shared = [False] * len(losses)
    later: set[Node] = set()
    for index in reversed(range(len(losses))):
        inner = {node for node in nodes_of(losses[index]) if node.next_functions}
        shared[index] = not later.isdisjoint(inner)
        later |= inner
    return shared


def reached(loss: Tensor, parameters: Sequence[Parameter]) -> list[bool]:
    """Whether a backward pass of the loss comes to each parameter.

    What a reentrant checkpoint (torch's older kind) holds is not part of the graph.
    """
    found = {id(getattr(node, "variable", None)) for node in nodes_of(loss)} | {id(loss)}
    return [id(parameter) in found for parameter in parameters]


def check_reached(optimizer: str, loss: Tensor, parameters: Mapping[str, Parameter]) -> str | None:
    """Check that a loss trains the parameters of the optimizer that it names.

    Returns:
        A warning, where some of them have no influence on the loss.

    Raises:
        UserError: a reentrant checkpoint may hold some: they would get no gradient.
    """
    comes_to = reached(loss, list(parameters.values()))
    names = [name for name, comes in zip(parameters, comes_to, strict=True) if not comes]
    if not names:
        return None
    shown = first_of(names, MOST_SHOWN)
    if any("CheckpointFunction" in type(node).__name__ for node in nodes_of(loss)):
        raise UserError(
            f"optimizer {optimizer!r} would not train {shown}: reentrant activation checkpointing hides them"
            " from a backward pass for one optimizer; give torch.utils.checkpoint use_reentrant=False"
        )
    which = "none of its parameters has any" if len(names) == len(parameters) else f"{shown} have no"
    return f"optimizer {optimizer}: {which} influence on its first loss"
