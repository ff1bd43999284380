"""Agreement of all ranks on values of one training batch: one collective, one read from the device."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from espnet3.components.modeling.metrics.host_values import from_bits, to_bits


def agree(
    values: Mapping[str, int | bool | Tensor], *, device: torch.device, world_size: int
) -> dict[str, int]:
    """The largest of each value over all ranks; a flag is 1 everywhere as soon as it is set anywhere.

    Every rank calls it once per training batch with the same keys. It costs one all_reduce of a few
    integers when `world_size` is more than 1, and at most one read from the device. What must be equal
    on all ranks can be carried as a value and its negative, whose maxima then cancel.

    Args:
        values: integers or flags of this process, or scalar integer or bool tensors on `device`.
        device: where the collective runs.
        world_size: number of ranks.
    """
    return agree_and_read(values, {}, device=device, world_size=world_size)[0]


def compared(key: str, value: int) -> dict[str, int]:
    """Entries for `agree` of a value that may differ between ranks; see `is_equal`."""
    return {key: value, f"minus {key}": -value}


def is_equal(key: str, agreed: Mapping[str, int]) -> bool:
    """Whether all ranks gave the same value as `compared(key, value)`."""
    return agreed[key] == -agreed[f"minus {key}"]


def agree_and_read(
    values: Mapping[str, int | bool | Tensor],
    readings: Mapping[str, Tensor],
    *,
    device: torch.device,
    world_size: int,
) -> tuple[dict[str, int], dict[str, Tensor]]:
    """As `agree`; the same read also brings this rank's `readings`, scalars on `device`, to the host.

    Returns:
        What `agree` returns; and `readings`, shape (), on the CPU. Ranks may have different ones.
    """
    on_device = {key: value for key, value in values.items() if isinstance(value, Tensor)}
    if world_size == 1:
        keys = list(on_device)
        if not keys and not readings:
            return {key: int(value) for key, value in values.items()}, {}
        flags = [value.to(device, torch.long, non_blocking=True) for value in on_device.values()]
        packed = torch.stack(flags) if flags else None
    else:
        keys = list(values)
        entries = [0 if key in on_device else int(values[key]) for key in values]
        packed = torch.tensor(entries, dtype=torch.long).to(device, non_blocking=True)
        for position, key in enumerate(values):
            if key in on_device:
                packed[position] = on_device[key]  # a loss may be on the CPU, and the collective is not
        torch.distributed.all_reduce(packed, op=torch.distributed.ReduceOp.MAX)
    agreed, read = _read(packed, readings, device)
    known = dict(zip(keys, agreed, strict=True))
    return {key: known[key] if key in known else int(values[key]) for key in values}, read


def _read(
    packed: Tensor | None, readings: Mapping[str, Tensor], device: torch.device
) -> tuple[list[int], dict[str, Tensor]]:
    """The whole numbers of `packed`, and the readings, by one read."""
    if device.type == "cpu" or not readings:
        return [] if packed is None else packed.tolist(), dict(readings)
    bits = to_bits(list(readings.values()))
    host = (bits if packed is None else torch.cat([packed, bits])).cpu()
    count = len(host) - len(readings)
    return host[:count].tolist(), dict(zip(readings, from_bits(host[count:], device.type), strict=True))


def mistakes_of_ranks(own: AssertionError | None, world_size: int) -> list[str]:
    """`rank 1: message` of every rank that has made a mistake; a collective, for the end of a training.

    Args:
        own: this rank's.
        world_size: number of ranks.
    """
    told: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(told, None if own is None else str(own) or repr(own))
    return [f"rank {rank}: {mistake}" for rank, mistake in enumerate(told) if mistake is not None]
