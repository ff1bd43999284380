"""Means and ratios of statistics over many batches and all ranks, with one reduction at the end."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from espnet3.components.modeling.metrics.ratio import Ratio

Keys = tuple[tuple[str, ...], tuple[str, ...]]
"""The scalars of a batch, and its ratios."""


class MetricSums:
    """Per key two sums, whose quotient is the metric, kept on the device of what is added.

    They are `weight * value` and `weight` of a scalar, numerator and denominator of a Ratio. Adding a batch
    reads nothing back from the device. Batches need not have the same keys.
    """

    def __init__(self) -> None:
        # Keyed by the keys of a batch, so that a batch costs a few operations whatever its number of keys;
        # each entry has the weighted sums of scalars, the weight, numerators and denominators of ratios.
        self._sums: dict[Keys, Tensor | list[float]] = {}

    def add(
        self, stats: Mapping[str, Tensor | Ratio], weight: Tensor | float, *, accepted: Tensor | None = None
    ) -> None:
        """Add one batch.

        Args:
            stats: scalars of shape (), floating point, or ratios.
            weight: how much the batch counts in the means of scalars.
            accepted: bool of shape (); where it is false the batch is left out, whatever its values.
        """
        if not stats:
            return
        scalars = {key: value for key, value in stats.items() if not isinstance(value, Ratio)}
        ratios = {key: value for key, value in stats.items() if isinstance(value, Ratio)}
        keys = tuple(scalars), tuple(ratios)
        values: list[Tensor | float] = [
            *scalars.values(),
            1.0,
            *(ratio.numerator for ratio in ratios.values()),
            *(ratio.denominator for ratio in ratios.values()),
        ]
        device = next((value.device for value in values if isinstance(value, Tensor)), torch.device("cpu"))
        if device.type == "cpu":
            self._add_numbers(keys, values, weight, accepted)
            return
        # float64 keeps the sum of a million batches exact enough; Apple's GPUs do not have it.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        with torch.no_grad():
            addend = torch.stack([_scalar(value, device, dtype) for value in values])
            addend[: len(scalars) + 1].mul_(
                weight.to(device=device, dtype=dtype) if isinstance(weight, Tensor) else weight
            )
            if accepted is not None:
                addend = torch.where(accepted, addend, torch.zeros_like(addend))
            held = self._sums.get(keys)
            self._sums[keys] = addend if held is None else _tensor(held).to(device) + addend

    def _add_numbers(
        self,
        keys: Keys,
        values: Sequence[Tensor | float],
        weight: Tensor | float,
        accepted: Tensor | None,
    ) -> None:
        """The same on the CPU by plain numbers: the arithmetic of float64, in a tenth of the time."""
        if accepted is not None and not accepted.item():
            addend = [0.0] * len(values)
        else:
            addend = [float(value) for value in values]
            factor, weighted = float(weight), len(keys[0]) + 1
            addend[:weighted] = [factor * value for value in addend[:weighted]]
        held = self._sums.get(keys)
        if isinstance(held, Tensor):
            held = held.tolist()
        self._sums[keys] = (
            addend if held is None else [one + other for one, other in zip(held, addend, strict=True)]
        )

    def totals(self, device: torch.device, world_size: int) -> dict[str, Tensor]:
        """The two sums of every key over all ranks, shape (2,), on the CPU, sorted by key.

        Every rank must call it, also one that added nothing: it is a collective over the union of their
        keys. What was added stays until `reset`.

        Raises:
            AssertionError: a key is a Ratio in some batches and a scalar in others; on all ranks.
        """
        totals = self._own_totals()
        kinds = {
            *((key, "scalar") for scalars, _ in self._sums for key in scalars),
            *((key, "ratio") for _, ratios in self._sums for key in ratios),
        }
        if world_size > 1:
            all_kinds: list[set[tuple[str, str]]] = [set() for _ in range(world_size)]
            torch.distributed.all_gather_object(all_kinds, kinds)
            kinds = set().union(*all_kinds)
        names = sorted(key for key, _ in kinds)
        for key, following in pairwise(names):
            if key == following:
                raise AssertionError(
                    f"stats[{key!r}] is a Ratio in some batches and a scalar in others: return a Ratio in all"
                )
        if not names:
            return {}
        dtype = torch.float32 if device.type == "mps" else torch.float64
        zero = torch.zeros(2, dtype=dtype, device=device)
        packed = torch.stack([totals[key].to(device) if key in totals else zero for key in names])
        if world_size > 1:
            torch.distributed.all_reduce(packed)
        return dict(zip(names, packed.cpu().double(), strict=True))

    def means(self, device: torch.device, world_size: int) -> dict[str, Tensor]:
        """The mean or ratio of every key over all ranks, shape (), on the CPU; see `totals`."""
        return means_of(self.totals(device, world_size))

    def reset(self) -> None:
        """Remove all sums."""
        self._sums = {}

    def state_dict(self) -> dict[str, Any]:
        """This rank's sums, as plain data: a list of (keys of scalars, keys of ratios, tensor)."""
        return {"sums": [(*map(list, keys), _tensor(sums).cpu()) for keys, sums in self._sums.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self._sums = {
            (tuple(scalars), tuple(ratios)): sums.clone() for scalars, ratios, sums in state["sums"]
        }

    @staticmethod
    def added(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The `state_dict`s of all ranks added up, as that of one rank."""
        total = MetricSums()
        for state in states:
            one = MetricSums()
            one.load_state_dict(state)
            for keys, sums in one._sums.items():
                held = total._sums.get(keys)
                total._sums[keys] = _tensor(sums) if held is None else _tensor(held) + _tensor(sums)
        return total.state_dict()

    def _own_totals(self) -> dict[str, Tensor]:
        """The two sums of every key, shape (2,)."""
        totals: dict[str, Tensor] = {}
        for (scalars, ratios), held in self._sums.items():
            sums = _tensor(held)
            weighted, weight, parts = sums[: len(scalars)], sums[len(scalars)], sums[len(scalars) + 1 :]
            pairs = {key: torch.stack([value, weight]) for key, value in zip(scalars, weighted, strict=True)}
            pairs |= dict(zip(ratios, parts.reshape(2, -1).T, strict=True))
            for key, pair in pairs.items():
                totals[key] = totals[key] + pair if key in totals else pair
        return totals


def means_of(totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The quotient of every key of `MetricSums.totals`, shape (); one whose second sum is 0 is left out."""
    return {key: total[0] / total[1] for key, total in totals.items() if total[1] != 0}


def _tensor(sums: Tensor | list[float]) -> Tensor:
    return sums if isinstance(sums, Tensor) else torch.tensor(sums, dtype=torch.float64)


def _scalar(value: Tensor | float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`value` on the device; a number is filled in there, as copying it would wait for the device."""
    if isinstance(value, Tensor):
        return value.to(device=device, dtype=dtype)
    return torch.full((), value, device=device, dtype=dtype)
