"""Lightning's TensorBoard logger, whose curves do not run back after a resume."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from espnet3.components.trainers.epoch_number import with_epoch_from_one
from espnet3.components.trainers.lightning_internals import purge_from


class ContinuedTensorBoardLogger(TensorBoardLogger):
    """Tells TensorBoard, at the first row of a resumed run, which steps of earlier attempts to leave out.

    Every attempt writes a file of its own into the folder; see `checkpoint.log_rows`.
    """

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row."""
        super().log_metrics(with_epoch_from_one(metrics), step)

    def position(self, next_step: int) -> int:
        """The step of the next row; what was logged is written."""
        self.save()
        return next_step

    def files(self) -> list[Path]:
        """None: the writer of TensorBoard owns its files."""
        return []

    def continue_from(self, position: int) -> None:
        """Leave out what earlier attempts logged at `position` and after."""
        purge_from(self, position)
