"""Logs the statistics of a training batch without what `self.log` does again for each of them."""

from collections.abc import Mapping

from lightning.pytorch import LightningModule
from torch import Tensor

from espnet3.components.trainers.lightning_internals import attached_trainer, replace_logged


def log_batch(module: LightningModule, stats: Mapping[str, Tensor], weight: Tensor | float) -> None:
    """Log scalars as `train/<key>` for this batch, inside `training_step`; nothing is read from a device.

    The first time, a key goes through `self.log`. After that only its value is replaced: the checks and
    copies of `self.log` cost about 0.3 ms for each key and batch, as much as a small network's backward pass.
    """
    trainer = attached_trainer(module)
    for key, value in stats.items():
        if trainer is None or not replace_logged(trainer, f"train/{key}", value):
            module.log(
                f"train/{key}",
                value,
                on_step=True,
                on_epoch=False,
                prog_bar=_is_on_bar(module),
                batch_size=weight,  # type: ignore[arg-type]  # a tensor stays one: nothing is read back
            )


def _is_on_bar(module: LightningModule) -> bool:
    """Whether statistics of a batch go to Lightning's progress bar.

    It reads each of them from the device for every batch. That costs nothing on the CPU; elsewhere only a
    bar that shows them is worth it.
    """
    trainer = attached_trainer(module)
    return module.device.type == "cpu" or trainer is None or trainer.progress_bar_callback is not None
