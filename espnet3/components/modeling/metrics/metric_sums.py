"""Weighted means of statistics over many batches and all ranks, with one reduction at the end."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed
from torch import Tensor


class MetricSums:
    """Sums of `weight * value` and of `weight` per key, kept on the device of what is added.

    Adding a batch reads nothing back from the device. Batches need not have the same keys.
    """

    def __init__(self) -> None:
        # Keyed by the tuple of keys of a batch, so that a batch costs a few operations whatever its
        # number of keys; each entry is (keys + 1,): weighted sums, then the weight.
        self._sums: dict[tuple[str, ...], Tensor] = {}

    def add(
        self, stats: Mapping[str, Tensor], weight: Tensor | float, *, accepted: Tensor | None = None
    ) -> None:
        """Add one batch.

        Args:
            stats: scalars of shape (), floating point.
            weight: how much the batch counts.
            accepted: bool of shape (); where it is false the batch is left out, whatever its values.
        """
        if not stats:
            return
        keys = tuple(stats)
        device = next(iter(stats.values())).device
        # float64 keeps the sum of a million batches exact enough; Apple's GPUs do not have it.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        with torch.no_grad():
            values = torch.stack(
                [stats[key].to(device=device, dtype=dtype) for key in keys] + [_one(device, dtype)]
            )
            addend = values * (
                weight.to(device=device, dtype=dtype) if isinstance(weight, Tensor) else weight
            )
            if accepted is not None:
                addend = torch.where(accepted, addend, torch.zeros_like(addend))
            held = self._sums.get(keys)
            self._sums[keys] = addend if held is None else held.to(device) + addend

    def totals(self, device: torch.device, world_size: int) -> dict[str, Tensor]:
        """(weighted sum, sum of weights) of every key over all ranks, shape (2,), on the CPU, sorted by key.

        Every rank must call it, also one that added nothing: it is a collective over the union of their
        keys. What was added stays until `reset`.
        """
        totals = self._own_totals()
        keys = sorted(totals)
        if world_size > 1:
            all_keys: list[list[str]] = [[] for _ in range(world_size)]
            torch.distributed.all_gather_object(all_keys, keys)
            keys = sorted(set().union(*all_keys))
        if not keys:
            return {}
        dtype = torch.float32 if device.type == "mps" else torch.float64
        zero = torch.zeros(2, dtype=dtype, device=device)
        packed = torch.stack([totals[key].to(device) if key in totals else zero for key in keys])
        if world_size > 1:
            torch.distributed.all_reduce(packed)
        return dict(zip(keys, packed.cpu().double(), strict=True))

    def means(self, device: torch.device, world_size: int) -> dict[str, Tensor]:
        """The weighted mean of every key over all ranks, shape (), on the CPU; see `totals`."""
        return means_of(self.totals(device, world_size))

    def reset(self) -> None:
        """Remove all sums."""
        self._sums = {}

    def state_dict(self) -> dict[str, Any]:
        """This rank's sums, as plain data: a list of (keys, tensor)."""
        return {"sums": [(list(keys), sums.cpu()) for keys, sums in self._sums.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self._sums = {tuple(keys): sums.clone() for keys, sums in state["sums"]}

    @staticmethod
    def added(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The `state_dict`s of all ranks added up, as that of one rank."""
        sums: dict[tuple[str, ...], Tensor] = {}
        for state in states:
            for keys, addend in state["sums"]:
                sums[tuple(keys)] = sums[tuple(keys)] + addend if tuple(keys) in sums else addend
        return {"sums": [(list(keys), total) for keys, total in sums.items()]}

    def _own_totals(self) -> dict[str, Tensor]:
        """Per key (weighted sum, weight), shape (2,)."""
        totals: dict[str, Tensor] = {}
        for keys, sums in self._sums.items():
            for position, key in enumerate(keys):
                pair = torch.stack([sums[position], sums[-1]])
                totals[key] = totals[key] + pair if key in totals else pair
        return totals


def means_of(totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of every key of `MetricSums.totals`, shape (); one whose weights sum to 0 is left out."""
    return {key: total[0] / total[1] for key, total in totals.items() if total[1] != 0}


def _one(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.ones((), device=device, dtype=dtype)
