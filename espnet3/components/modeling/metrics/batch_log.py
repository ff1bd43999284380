"""Logs the statistics of a training batch without what `self.log` does again for each of them."""

from collections.abc import Mapping

from lightning.pytorch import LightningModule
from torch import Tensor

from espnet3.components.trainers.lightning_internals import (
    attached_trainer,
    batch_has_row,
    replace_logged,
    show_to_callbacks,
)

OPTIMIZER_KEYS = ("lr", "update_step", "grad_norm")
"""Last parts of the names of what is logged about a named optimizer, besides its loss."""


def log_batch(
    module: LightningModule, stats: Mapping[str, Tensor], weight: Tensor | float, *, has_row: bool
) -> None:
    """Log scalars as `train/<key>` for this batch, inside `training_step`; nothing is read from a device.

    Those that a row or the progress bar shows should be on the CPU: Lightning reads each by itself, those of
    the bar several times for every batch. Where neither does, only callbacks see the values.

    The first time, a key goes through `self.log`. After that only its value is replaced: the checks and
    copies of `self.log` cost about 0.3 ms for each key and batch, as much as a small network's backward pass.

    Args:
        module: whose `training_step` runs.
        stats: the scalars, shape (), without graph.
        weight: how much the batch counts.
        has_row: what `row_follows` said.
    """
    trainer = attached_trainer(module)
    if trainer is not None and not has_row and not shows_bar(module):
        show_to_callbacks(trainer, {f"train/{key}": value for key, value in stats.items()})
        return
    for key, value in stats.items():
        if trainer is None or not replace_logged(trainer, f"train/{key}", value):
            module.log(
                f"train/{key}",
                value,
                on_step=True,
                on_epoch=False,
                prog_bar=shows_bar(module) and key.rpartition("/")[2] not in OPTIMIZER_KEYS,
                batch_size=weight,  # type: ignore[arg-type]  # a tensor stays one: nothing is read back
            )


def shows_bar(module: LightningModule) -> bool:
    """Whether there is a progress bar of Lightning's, which shows the statistics of every batch."""
    trainer = attached_trainer(module)
    return trainer is not None and trainer.progress_bar_callback is not None


def row_follows(module: LightningModule) -> bool:
    """Whether loggers get a row of the batch that runs."""
    trainer = attached_trainer(module)
    return trainer is not None and bool(trainer.loggers) and batch_has_row(trainer)
