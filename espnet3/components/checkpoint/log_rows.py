"""Log rows of a resumed run continue the earlier ones: none is lost, none is written twice.

Lightning writes the row of a batch, and that of an epoch, after the hook in which a checkpoint is written. A
checkpoint therefore holds how many rows there were, and the row to come. Rows that a killed attempt has
written after its last checkpoint are written again by the resumed run: they are removed first.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import Trainer

from espnet3.components.trainers.lightning_internals import batch_has_row, batches_that_stepped, row_to_come

KEY = "espnet3_logs"


@runtime_checkable
class ContinuedLogger(Protocol):
    """A logger that can remove what it has logged since a checkpoint."""

    @property
    def name(self) -> str | None:
        """Unique among the loggers."""

    def position(self, next_step: int) -> int:
        """Its position; all rows are written. `next_step` is the step of the row to come."""

    def files(self) -> list[Path]:
        """What holds the rows: on the disk before a checkpoint that counts them is."""

    def continue_from(self, position: int) -> None:
        """Remove what was logged after `position`; 0 is the beginning."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Add a row."""


def log_state(trainer: Trainer, *, batch_to_come: bool, epoch_to_come: bool) -> dict[str, Any]:
    """The positions of the loggers, as plain data; called on all ranks, of which rank 0's are used.

    Args:
        trainer: whose loggers these are.
        batch_to_come: the row of the batch that was run, if it gets one, is still to be written.
        epoch_to_come: the row of the epoch is.
    """
    step = batches_that_stepped(trainer)
    row: dict[str, Any] | None = None
    if epoch_to_come or (batch_to_come and batch_has_row(trainer)):
        # Lightning logs the epoch's means at the step of its last batch.
        metrics = _row(trainer)
        row = {"metrics": metrics, "step": step - epoch_to_come} if metrics else None
    loggers = _continued(trainer) if trainer.is_global_zero else {}
    next_step = step + (not batch_to_come and not epoch_to_come)
    return {
        "positions": {name: logger.position(next_step) for name, logger in loggers.items()},
        "row": row,
    }


def log_files(trainer: Trainer) -> tuple[Path, ...]:
    """The files of rank 0's loggers that `log_state` counts the rows of."""
    return tuple(file for logger in _continued(trainer).values() for file in logger.files())


def continue_rows(trainer: Trainer, state: Mapping[str, Any] | None) -> None:
    """Let the loggers continue from what `log_state` returned; None when training begins."""
    if not trainer.is_global_zero:
        return
    for name, logger in _continued(trainer).items():
        if state is None:
            logger.continue_from(0)
        elif name in state["positions"]:
            logger.continue_from(state["positions"][name])
            if state["row"] is not None:
                logger.log_metrics(dict(state["row"]["metrics"]), state["row"]["step"])


def _continued(trainer: Trainer) -> dict[str, ContinuedLogger]:
    return {str(logger.name): logger for logger in trainer.loggers if isinstance(logger, ContinuedLogger)}


def _row(trainer: Trainer) -> dict[str, Any]:
    metrics = row_to_come(trainer)
    return {"epoch": trainer.current_epoch, **metrics} if metrics else {}
