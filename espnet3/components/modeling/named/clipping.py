"""Clipping of one named optimizer's gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The 2-norm of all gradients together, shape (); nothing is read from the device."""
    return torch.nn.utils.get_total_norm(gradients, foreach=True)


@torch.no_grad()
def clip_to_norm(gradients: Sequence[Tensor], norm: Tensor, largest: float) -> None:
    """Scale the gradients, whose norm is `norm`, as torch.nn.utils.clip_grad_norm_ does."""
    factor = torch.clamp(largest / (norm + 1e-6), max=1.0)
    if factor.device.type == "cpu" and factor.item() == 1.0:
        return  # multiplying by one costs a pass over all gradients; elsewhere reading the factor costs more
    torch._foreach_mul_(list(gradients), factor)


@torch.no_grad()
def clip_to_value(gradients: Sequence[Tensor], largest: float) -> None:
    """Clamp every element to [-largest, largest], as torch.nn.utils.clip_grad_value_ does."""
    torch._foreach_clamp_min_(list(gradients), -largest)
    torch._foreach_clamp_max_(list(gradients), largest)
