"""A statistic that is a quotient of sums, such as an error rate; a model returns it in `stats`."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ratio:
    """Numerator and denominator of a rate in one batch, such as wrong tokens and tokens of the references.

    Both are added up over batches and ranks, and divided once: with `Ratio(errors, tokens)` the metric is the
    error rate of the data set, whichever batches it was cut into. A mean of the batches' rates is not: a
    token of a batch of short utterances would count more than another. The batch's weight has no effect.

    A metric whose denominators sum to 0 is left out.

    Args:
        numerator: a scalar tensor, shape () or (1,), or a number.
        denominator: the same; it counts how much of the data set the numerator is about.
    """

    numerator: Tensor | float
    denominator: Tensor | float


def batch_values(stats: Mapping[str, Tensor | Ratio]) -> dict[str, Tensor]:
    """The values of one batch's statistics; of a Ratio its quotient, NaN or Inf for a denominator of 0."""
    return {
        key: torch.as_tensor(value.numerator) / value.denominator if isinstance(value, Ratio) else value
        for key, value in stats.items()
    }
