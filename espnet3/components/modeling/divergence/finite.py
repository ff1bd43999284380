"""Which gradients or weights hold NaN or Inf, by one pass over them and one read from the device."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import Module

MOST_SHOWN = 2


def nonfinite_tensors(named: Sequence[tuple[str, Tensor]], norm: Tensor | None = None) -> list[str]:
    """The names of those that hold NaN or Inf; one read from the device unless there are some.

    Args:
        named: names and tensors, such as gradients.
        norm: the 2-norm of all of them together, if it is known: it is finite only if they are.
    """
    if not named:
        return []
    if norm is None:
        norm = torch.nn.utils.get_total_norm([tensor for _, tensor in named], foreach=True)
    if bool(torch.isfinite(norm)):
        return []
    finite = torch.stack([torch.isfinite(tensor).all().to(norm.device) for _, tensor in named]).tolist()
    # None where only the norm has overflowed.
    return [name for (name, _), is_finite in zip(named, finite, strict=True) if not is_finite]


@torch.no_grad()
def nonfinite_weights(model: Module) -> list[str]:
    """The names of the trained parameters that hold NaN or Inf; a frozen one may, such as a mask."""
    named = [
        (name, parameter.detach()) for name, parameter in model.named_parameters() if parameter.requires_grad
    ]
    return nonfinite_tensors(named)


def briefly(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more
