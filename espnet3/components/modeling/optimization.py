"""The interface of a training for the LightningModule: by a single optimizer, or by named ones."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn import Module

from espnet3.components.modeling.metrics.epoch_metrics import ToRead, nothing_to_read
from espnet3.components.modeling.model_output import ModelOutput
from espnet3.components.modeling.named.schedules import NewValue
from espnet3.components.modeling.training_length import TrainingLength


class Optimization(Protocol):
    """The methods in the order in which they are called; `SingleTraining` and `NamedTraining` have them."""

    def reset(self) -> None:
        """A training begins: forget the one before."""

    def load(self, checkpoint: dict[str, Any], lightning_checkpoint: dict[str, Any]) -> None:
        """Continue from the module's part of a checkpoint; Lightning is about to restore the rest."""

    def configure(self, model: Module, trainer: Trainer | None, length: Callable[[], TrainingLength]) -> Any:
        """Make optimizers and schedulers, as `configure_optimizers` returns them."""

    def connect(self, trainer: Trainer) -> None:
        """Prepare for training with this Trainer; the parameters are on their device."""

    def begin(self) -> None:
        """The first batch comes next."""

    def agree(
        self,
        returned: Any,
        utterances: int,
        flags: Mapping[str, int | bool],
        device: torch.device,
        trainer: Trainer | None,
        to_read: ToRead = nothing_to_read,
    ) -> tuple[ModelOutput[Any], dict[str, int], dict[str, Tensor]]:
        """As `read`; what all ranks agree on, `flags` and `nonfinite`; and what `to_read` chose, on the host.

        One collective, the control collective, and one read from the device.
        """

    def run(self, loss: Any, /) -> dict[str, Tensor]:
        """Train with the loss of an accepted batch; returns what to log about the optimizers."""

    def read(self, returned: Any, utterances: int) -> ModelOutput[Any]:
        """Check what the model returned for a batch."""

    def is_finite(self, loss: Any, /) -> Tensor:
        """Whether the loss of a batch is neither NaN nor Inf: bool of shape ()."""

    def end_epoch(self, new_value: NewValue) -> None:
        """Step the epoch-interval schedulers; the metrics of the epoch are aggregated."""

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Add to the module's part of a checkpoint what Lightning does not keep."""

    def disconnect(self) -> None:
        """Training is over."""
