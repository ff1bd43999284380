"""How long a training is, for schedulers that depend on it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


@dataclass(frozen=True)
class TrainingLength:
    """Updates of the parameters by the single optimizer; they depend on the number of ranks."""

    updates_per_epoch: int
    updates: int
    """Of the whole training, up to `max_epochs` or `max_steps`, whichever comes first."""


def training_length(trainer: "Trainer", batches: int) -> TrainingLength:
    """The length of `trainer`'s training.

    Args:
        trainer: with its limits and accumulation.
        batches: of a whole epoch, on each rank.

    Raises:
        ValueError: the training has no end.
    """
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    updates_per_epoch = math.ceil(batches / trainer.accumulate_grad_batches)
    ends = []
    if trainer.max_epochs not in (None, -1):
        assert trainer.max_epochs is not None
        ends.append(trainer.max_epochs * updates_per_epoch)
    if trainer.max_steps != -1:
        ends.append(trainer.max_steps)
    if not ends:
        raise ValueError("a scheduler that depends on the training's length needs max_epochs or max_steps")
    return TrainingLength(updates_per_epoch, min(ends))
