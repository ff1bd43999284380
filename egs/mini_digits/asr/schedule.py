"""The learning rate over a training: up in a straight line, then down along a cosine."""

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from espnet3.components.modeling.training_length import TrainingLength


class WarmupCosine(LRScheduler):
    """Sets the rate of every update by how far the training is.

    Its length is no part of a checkpoint: a training that is continued with more epochs follows the longer
    curve, and one that goes on with another number of ranks, so with other updates an epoch, goes on at the
    same share of its epochs.

    Args:
        optimizer: whose learning rates are the highest ones.
        length: of the training; the module gives it.
        warmup: share of the updates in which the rate rises, 0 to 1.
    """

    def __init__(self, optimizer: Optimizer, *, length: TrainingLength, warmup: float) -> None:
        self._length, self._warmup = length, warmup
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of the next update, for each group of parameters."""
        share = factor(self.last_epoch, self._length.updates, self._warmup)
        return [share * rate for rate in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """How many updates were made, and how many an epoch had."""
        state = {
            key: value for key, value in super().state_dict().items() if key not in ("_length", "_warmup")
        }
        return {**state, "updates_per_epoch": self._length.updates_per_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the same share of the epochs."""
        state = dict(state_dict)
        before, now = state.pop("updates_per_epoch"), self._length.updates_per_epoch
        super().load_state_dict({**state, "last_epoch": round(state["last_epoch"] * now / before)})
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate  # the next update's: it may be another than the one of the old curve


def factor(done: int, updates: int, warmup: float) -> float:
    """What the highest rate is multiplied with after `done` of `updates`: 0 to 1."""
    rising = max(1, round(warmup * updates))
    if done < rising:
        return (done + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - rising) / max(1, updates - rising))))
