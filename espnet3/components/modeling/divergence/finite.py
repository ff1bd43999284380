"""Which gradients or weights hold NaN or Inf, by one pass over them."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import Module

from espnet3.errors import first_of

MOST_SHOWN = 2


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether none holds NaN or Inf; one pass over them, and one read from the device.

    False also where only a sum has overflowed: see `nonfinite_names`.
    """
    return math.isfinite(total(tensors))


def total(tensors: Sequence[Tensor]) -> Tensor | float:
    """A number that is finite only if all elements of all tensors are; nothing is read but from the CPU.

    Returns:
        Their 2-norm, shape (), or on the CPU a sum.
    """
    if all(tensor.device.type == "cpu" for tensor in tensors):  # no kernel to be launched for each
        return math.fsum(map(_sum, tensors))
    return torch.nn.utils.get_total_norm([_elements(tensor) for tensor in tensors], foreach=True)


def nonfinite_names(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of those that hold NaN or Inf; a read from the device for each."""
    return [name for name, tensor in named if not bool(torch.isfinite(_elements(tensor)).all())]


@torch.no_grad()
def nonfinite_weights(model: Module) -> list[str]:
    """The names of the trained parameters that hold NaN or Inf; a frozen one may, such as a mask."""
    named = [
        (name, parameter.detach()) for name, parameter in model.named_parameters() if parameter.requires_grad
    ]
    return [] if all_finite([weight for _, weight in named]) else nonfinite_names(named)


def briefly(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    return first_of(names, MOST_SHOWN)


def _sum(tensor: Tensor) -> float:
    return tensor.sum().item()


def _elements(tensor: Tensor) -> Tensor:
    """Those of a sparse gradient that are not zero."""
    return tensor.coalesce().values() if tensor.is_sparse else tensor
