"""Which gradients or weights hold NaN or Inf, by one pass over them."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import Module

from espnet3.errors import first_of

MOST_SHOWN = 2


def nonfinite(losses: Sequence[Tensor]) -> Tensor | bool:
    """Whether one of some losses, shape () or (1,), is NaN or Inf.

    A bool of shape () on their device, of which nothing is read; on the CPU by plain Python, in a tenth of
    the time.
    """
    if all(loss.is_cpu for loss in losses):
        return not all(math.isfinite(loss.item()) for loss in losses)
    return ~finite_losses(losses)


def finite_losses(losses: Sequence[Tensor]) -> Tensor:
    """Whether none is NaN or Inf: bool of shape (); on the CPU only if all losses are there."""
    device = next((loss.device for loss in losses if not loss.is_cpu), losses[0].device)
    moved = [loss.detach().reshape(()).to(device, non_blocking=True) for loss in losses]
    return torch.isfinite(moved[0] if len(moved) == 1 else torch.stack(moved)).all()


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
    if all(tensor.is_cpu for tensor in tensors):  # no kernel to be launched for each
        return sum(map(_sum, tensors), 0.0)  # math.fsum raises for infinities of both signs
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
