"""Lightning's TensorBoard logger, whose curves do not run back after a resume."""

from lightning.pytorch.loggers import TensorBoardLogger

from espnet3.components.trainers.lightning_internals import purge_from


class ContinuedTensorBoardLogger(TensorBoardLogger):
    """Tells TensorBoard, at the first row of a resumed run, which steps of earlier attempts to leave out.

    Every attempt writes a file of its own into the folder; see `checkpoint.log_rows`.
    """

    def position(self, next_step: int) -> int:
        """The step of the next row; what was logged is on the disk."""
        self.save()
        return next_step

    def continue_from(self, position: int) -> None:
        """Leave out what earlier attempts logged at `position` and after."""
        purge_from(self, position)
