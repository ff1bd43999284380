"""The learning rate over a training: up in a straight line, then down along a cosine."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(
    optimizer: Optimizer,
    *,
    epochs: int,
    utterances: int,
    batch_size: int,
    devices: int,
    num_nodes: int,
    accumulate_grad_batches: int,
    warmup: float,
) -> LambdaLR:
    """A schedule for as many updates as `epochs` passes over the data take.

    The length is worked out here, from keys of the configuration that exist anyway, and is no part of a
    checkpoint: a training that is continued with more epochs follows the longer curve.

    Args:
        optimizer: whose learning rates are the highest ones.
        epochs: passes over the data.
        utterances: in the training data.
        batch_size: utterances a batch, on each rank.
        devices: ranks on each machine.
        num_nodes: machines.
        accumulate_grad_batches: batches an update.
        warmup: share of the updates in which the rate rises, 0 to 1.
    """
    batches = math.ceil(utterances / (batch_size * devices * num_nodes))
    total = epochs * math.ceil(batches / accumulate_grad_batches)
    rising = max(1, round(warmup * total))

    def factor(update: int) -> float:
        if update < rising:
            return (update + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (update - rising) / max(1, total - rising))))

    return LambdaLR(optimizer, factor)
