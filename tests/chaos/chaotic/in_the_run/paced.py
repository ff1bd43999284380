"""A callback of the disturbed training, in its recipe: batches that can be counted and take their time."""

import os
import time
from pathlib import Path

from lightning.pytorch import Callback, Trainer

PACE_S = 0.1


class Paced(Callback):
    """Appends a line `<batch> <pid>` to a file after each batch, on rank 0, and waits a moment."""

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Mark the batch."""
        if trainer.is_global_zero:
            with self.file.open("a") as lines:
                lines.write(f"{trainer.fit_loop.epoch_loop.total_batch_idx} {os.getpid()}\n")
        time.sleep(PACE_S)
