"""A learning-rate scheduler: linear warm-up, then cosine decay."""

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from espnet3.components.modeling.training_length import TrainingLength


class WarmupCosine(LRScheduler):
    """Sets the learning rate of every update from the share of the training that is done.

    The length of the training is not in its state: a training that is continued with more epochs follows the
    longer curve, and one with another number of ranks, and so of updates per epoch, continues at the same
    share of its epochs.

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
        """Continue at the same share of the epochs."""
        state = dict(state_dict)
        before, now = state.pop("updates_per_epoch"), self._length.updates_per_epoch
        super().load_state_dict({**state, "last_epoch": round(state["last_epoch"] * now / before)})
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate  # of the next update: it may differ from the old curve's


def factor(done: int, updates: int, warmup: float) -> float:
    """The factor of the highest rate after `done` of `updates`: 0 to 1."""
    rising = max(1, round(warmup * updates))
    if done < rising:
        return (done + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - rising) / max(1, updates - rising))))
