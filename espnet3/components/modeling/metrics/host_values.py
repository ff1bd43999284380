"""Scalars of a device on the host, by one read for all of them: each read waits for the device."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def on_host(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same scalars, shape (), on the CPU, by one read for each device that there is among them."""
    result = dict(values)
    by_device: dict[torch.device, list[str]] = {}
    for key, value in values.items():
        if value.device.type != "cpu":
            by_device.setdefault(value.device, []).append(key)
    for keys in by_device.values():
        packed = to_bits([values[key] for key in keys]).cpu()
        result |= zip(keys, from_bits(packed, values[keys[0]].device.type), strict=True)
    return result


@torch.no_grad()
def to_bits(values: Sequence[Tensor]) -> Tensor:
    """Scalars of one device as whole numbers (N,), to be read together with others; nothing is read."""
    device = values[0].device
    if device.type == "mps":  # has no float64
        floats = torch.stack([value.detach().reshape(()).float() for value in values])
        return floats.view(torch.int32).long()
    return torch.stack([value.detach().reshape(()).double() for value in values]).view(torch.int64)


def from_bits(bits: Tensor, device_type: str) -> tuple[Tensor, ...]:
    """The scalars, float64, of what `to_bits` made on a device of this type, after it was read."""
    if device_type == "mps":
        return bits.int().view(torch.float32).double().unbind()
    return bits.view(torch.float64).unbind()
