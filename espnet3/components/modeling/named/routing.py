"""From the loss that a model returned to steps of named optimizers that all ranks agree on."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from espnet3.components.modeling.control import agree_and_read, compared, is_equal, mistakes_of_ranks
from espnet3.components.modeling.divergence.finite import nonfinite
from espnet3.components.modeling.optimization_spec import OptimizationStep


def read_steps(loss: Any, names: Sequence[str]) -> list[OptimizationStep]:
    """Check what a model returned as loss, for the optimizers `names`.

    Raises:
        AssertionError: it is not an OptimizationStep or a list of them, the list is empty, a name is
            unknown or occurs twice; the message says what was given.
    """
    steps = [loss] if isinstance(loss, OptimizationStep) else loss
    if not isinstance(steps, list):
        raise AssertionError(
            "with named optimizers the loss must be an OptimizationStep or a list of them,"
            f" given: {_describe(loss)}"
        )
    if not steps:
        raise AssertionError("the list of OptimizationSteps is empty: leave a batch out in the data instead")
    seen = set()
    for step in steps:
        if not isinstance(step, OptimizationStep):
            raise AssertionError(
                f"with named optimizers the loss must be a list of OptimizationSteps only,"
                f" given one that holds: {_describe(step)}"
            )
        if step.name not in names:
            raise AssertionError(f"there is no optimizer {step.name!r}; known are {', '.join(names)}")
        if step.name in seen:
            given = ", ".join(step.name for step in steps)
            raise AssertionError(f"optimizer {step.name!r} is named twice in one batch, given: {given}")
        seen.add(step.name)
    return steps


@dataclass(frozen=True)
class Routed:
    """What all ranks have agreed on for one batch."""

    steps: list[OptimizationStep]
    """In list order, the same names on all ranks."""
    nonfinite: bool
    """A loss is NaN or Inf on some rank: no rank may train on this batch."""
    flags: dict[str, int]
    """The largest of each flag over all ranks."""
    read: dict[str, Tensor]
    """This rank's readings, on the CPU."""
    agreed: frozenset[str] = frozenset()
    """The names of which all ranks expect the same, and something."""


class Router:
    """Agrees with all ranks on the steps of a batch; the one control collective of a training batch.

    Args:
        names: the names of the optimizers, the same on all ranks.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._graphs = {name: f"graph:{name}" for name in names}
        self._expectations = {name: f"expectation:{name}" for name in names}
        self._orders: dict[tuple[str, ...], int] = {}

    def route(
        self,
        read: Callable[[], list[OptimizationStep]],
        flags: Mapping[str, int | bool],
        *,
        device: torch.device,
        world_size: int,
        readings: Callable[[], Mapping[str, Tensor]] = dict,
        expect: Callable[[], Mapping[str, int]] = dict,
    ) -> Routed:
        """Read the steps on this rank and compare them with the other ranks'.

        Args:
            read: gives this rank's steps, or raises AssertionError, which then ends all ranks.
            flags: small integers for the same collective, such as `stop`; the same keys on all ranks.
            device: where the model is and the collective runs.
            world_size: number of ranks.
            readings: gives, after `read`, scalars on `device` that the same read brings to the host.
            expect: gives, after `read`, a number for each name that stands for what this rank expects of its
                backward pass; 0 for nothing. See `GradientReduction.expect`.

        Raises:
            AssertionError: a rank's steps are wrong, ranks differ in names or order (on all ranks, with
                each rank's list), or no rank's loss has a graph.
        """
        mistake: AssertionError | None = None
        steps: list[OptimizationStep] = []
        try:
            steps = read()
        except AssertionError as error:
            if world_size == 1:
                raise
            mistake = error
        order = 0 if mistake else self._order_of(tuple(step.name for step in steps))
        values: dict[str, int | bool | Tensor] = dict(flags)
        values["nonfinite"] = nonfinite([step.loss for step in steps])
        if world_size > 1:
            values |= compared("order", order)
            values.update(dict.fromkeys(self._graphs.values(), 0))
            expected = {} if mistake else expect()
            for name, key in self._expectations.items():
                values |= compared(key, expected.get(name, 0))
        for step in steps:
            values[self._graphs[step.name]] = step.loss.requires_grad
        wanted = {} if mistake else readings()
        agreed, brought = agree_and_read(values, wanted, device=device, world_size=world_size)
        if world_size > 1 and (not is_equal("order", agreed) or mistake is not None):
            raise _disagreement(steps, mistake, world_size) from mistake
        for step in steps:
            if not agreed[self._graphs[step.name]]:
                raise AssertionError(
                    f"the loss of optimizer {step.name!r} has no graph: it was detached, or computed from"
                    " nothing that is trained"
                )
        same = frozenset(
            name for name, key in self._expectations.items() if agreed.get(key) and is_equal(key, agreed)
        )
        return Routed(steps, bool(agreed["nonfinite"]), {key: agreed[key] for key in flags}, brought, same)

    def _order_of(self, names: tuple[str, ...]) -> int:
        """A positive number that stands for these names in this order."""
        order = self._orders.get(names)
        if order is None:
            digest = hashlib.blake2b("\0".join(names).encode(), digest_size=7).digest()
            order = self._orders[names] = 1 + int.from_bytes(digest, "big")
        return order


def _disagreement(
    steps: Sequence[OptimizationStep], mistake: AssertionError | None, world_size: int
) -> AssertionError:
    """The error that all ranks raise; a collective."""
    mistakes = mistakes_of_ranks(mistake, world_size)
    if mistakes:
        return AssertionError("; ".join(mistakes))
    ranks: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(ranks, [step.name for step in steps])
    lists = "; ".join(f"rank {rank}: [{', '.join(names)}]" for rank, names in enumerate(ranks))
    return AssertionError(f"ranks name different optimizers, or another order, in one batch: {lists}")


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"Tensor of shape {tuple(value.shape)}"
    return f"{type(value).__name__} {value!r}"[:100]
