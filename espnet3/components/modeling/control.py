"""Agreement of all ranks on values of one training batch: one collective, one read from the device."""

from collections.abc import Mapping

import torch
import torch.distributed
from torch import Tensor


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
    on_device = {key: value for key, value in values.items() if isinstance(value, Tensor)}
    if world_size == 1:
        read = torch.stack([value.long() for value in on_device.values()]).tolist() if on_device else []
        known = dict(zip(on_device, read, strict=True))
        return {key: known[key] if key in known else int(values[key]) for key in values}
    entries = [0 if key in on_device else int(values[key]) for key in values]
    packed = torch.tensor(entries, dtype=torch.long).to(device, non_blocking=True)
    for position, key in enumerate(values):
        if key in on_device:
            packed[position] = on_device[key]
    torch.distributed.all_reduce(packed, op=torch.distributed.ReduceOp.MAX)
    return dict(zip(values, packed.tolist(), strict=True))
