"""The contract between a model and its training: a batch in, `loss, stats, weight` out, both checked."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from espnet3.components.modeling.metrics.ratio import Ratio
from espnet3.components.modeling.optimization_spec import OptimizationStep

Loss = TypeVar("Loss")

RESERVED = frozenset({"skipped_batches", "nonfinite_gradients"})
"""Keys under which a training logs counts of its own."""


@dataclass(frozen=True)
class ModelOutput(Generic[Loss]):
    """What a model returned for one batch."""

    loss: Loss
    """With one optimizer a scalar, shape (), with its graph; with named ones a list of OptimizationSteps."""
    stats: dict[str, Tensor | Ratio]
    """Scalars, shape (), floating point, without graph, or ratios of two such scalars; those that were None
    are left out."""
    weight: Tensor | float
    """How much this batch counts in the means of scalars: by default its number of utterances."""


def is_batch(batch: Any) -> bool:
    """Whether it is a pair of uids and a dict."""
    return isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[1], Mapping)


def read_batch(batch: Any) -> tuple[list[str], dict[str, Any]]:
    """The uids and the data of a batch.

    Raises:
        AssertionError: when it is not a pair of uids and a dict.
    """
    if not is_batch(batch):
        raise AssertionError(f"a batch must be (uids, dict of data), given: {_describe(batch)}")
    return list(batch[0]), dict(batch[1])


def read_output(output: Any, utterances: int) -> ModelOutput[Tensor]:
    """Check what a model returned for a batch of `utterances`, with one optimizer.

    Raises:
        AssertionError: when it is not `(loss, stats, weight)`, the loss is not a scalar tensor (or is an
            OptimizationStep, which needs named optimizers), stats is not a dict of scalars and ratios, or
            weight is neither a number nor None; see also `check_stat_names`.
    """
    read = read_output_with(_read_loss, output, utterances)
    check_stat_names(read.stats)
    return read


def read_output_with(read_loss: Callable[[Any], Loss], output: Any, utterances: int) -> ModelOutput[Loss]:
    """As `read_output`, with the loss checked by `read_loss`.

    Raises:
        AssertionError: see `read_output`; what `read_loss` raises; and `output` itself, where the batch or
            the model has failed in place of returning something.
    """
    if isinstance(output, AssertionError):
        raise output
    if not isinstance(output, tuple | list) or len(output) != 3:
        raise AssertionError(f"a model must return (loss, stats, weight), given: {_describe(output)}")
    loss, stats, weight = output
    checked = read_loss(loss)
    first = loss[0] if isinstance(loss, list) else loss
    device = (first.loss if isinstance(first, OptimizationStep) else first).device
    return ModelOutput(checked, _read_stats(stats, device), _read_weight(weight, utterances, device))


def check_stat_names(stats: Collection[str], reserved: Collection[str] = RESERVED) -> None:
    """Refuse keys of statistics under which something else is logged.

    Raises:
        AssertionError: a key is one of `reserved`, or `<key>_epoch` of another, the mean over the epoch.
    """
    for key in stats:
        if key in reserved:
            raise AssertionError(f"stats[{key!r}] is logged by the training itself: give it another name")
        of_batches = key.removesuffix("_epoch")
        if of_batches != key and of_batches in stats:
            raise AssertionError(
                f"stats[{key!r}] is the mean of stats[{of_batches!r}] over the epoch: give it another name"
            )


def _read_loss(loss: Any) -> Tensor:
    entries = loss if isinstance(loss, list | tuple) else [loss]
    if any(isinstance(entry, OptimizationStep) for entry in entries):
        raise AssertionError(
            "the model returned OptimizationStep, but a single `optimizer` is configured:"
            f" return the loss tensor, or configure `optimizers`; given: {_describe(loss)}"
        )
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        raise AssertionError(f"loss must be a scalar tensor of floating point, given: {_describe(loss)}")
    return loss.reshape(())


def _read_stats(stats: Any, device: torch.device) -> dict[str, Tensor | Ratio]:
    if not isinstance(stats, Mapping):
        raise AssertionError(f"stats must be a dict, given: {_describe(stats)}")
    return {str(key): _read_stat(key, value, device) for key, value in stats.items() if value is not None}


def _read_stat(key: Any, value: Any, device: torch.device) -> Tensor | Ratio:
    if isinstance(value, Ratio):
        name = f"stats[{key!r}]"
        return Ratio(
            _read_scalar(f"{name}.numerator must be a scalar", value.numerator, device),
            _read_scalar(f"{name}.denominator must be a scalar", value.denominator, device),
        )
    return _read_scalar(f"stats[{key!r}] must be a scalar, a Ratio or None", value, device)


def _read_scalar(rule: str, value: Any, device: torch.device) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        scalar = value.detach().reshape(())
        scalar = scalar if scalar.is_floating_point() else scalar.float()
        if scalar.device == device or scalar.device.type != "cpu":
            return scalar
        return torch.full((), scalar.item(), dtype=scalar.dtype, device=device)
    if isinstance(value, Real):  # filled in on the device: to copy it there would wait for the device
        return torch.full((), float(value), device=device)
    raise AssertionError(f"{rule}, given: {_describe(value)}")


def _read_weight(weight: Any, utterances: int, device: torch.device) -> Tensor | float:
    if weight is None:
        return float(utterances)
    if isinstance(weight, Tensor) and weight.numel() == 1:
        scalar = weight.detach().reshape(())
        return scalar if scalar.device == device or scalar.device.type != "cpu" else scalar.item()
    if isinstance(weight, Real):
        return float(weight)
    raise AssertionError(f"weight must be a scalar or None, given: {_describe(weight)}")


def _describe(value: Any) -> str:
    """A value in an error message, short enough for one line."""
    if isinstance(value, Tensor):
        return f"Tensor of shape {tuple(value.shape)}, {value.dtype}"
    if isinstance(value, OptimizationStep):
        return f"OptimizationStep(name={value.name!r})"
    if isinstance(value, list | tuple):
        shown = ", ".join(_describe(entry) for entry in value[:4])
        return f"{type(value).__name__} of {len(value)} ({shown}{', …' if len(value) > 4 else ''})"
    return f"{type(value).__name__} {value!r}"[:100]
