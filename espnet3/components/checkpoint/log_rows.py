"""Log rows of a resumed run continue the earlier ones: none is lost, none is written twice.

Lightning writes the row of a batch, and that of an epoch, after the hook in which a checkpoint is written. A
checkpoint therefore holds how many rows there were, and the row to come. Rows that a killed attempt has
written after its last checkpoint are written again by the resumed run: they are removed first.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch import Trainer

KEY = "espnet3_logs"


@runtime_checkable
class ContinuedLogger(Protocol):
    """A logger that can remove what it has logged since a checkpoint."""

    @property
    def name(self) -> str | None:
        """Unique among the loggers."""

    def position(self, next_step: int) -> int:
        """Its position, flushed to the disk. `next_step` is the step of the row to come."""

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
    loop = trainer.fit_loop.epoch_loop
    step = loop._batches_that_stepped
    row: dict[str, Any] | None = None
    if epoch_to_come or (batch_to_come and _batch_has_row(trainer)):
        # Lightning logs the epoch's means at the step of its last batch.
        metrics = _row(trainer)
        row = {"metrics": metrics, "step": step - epoch_to_come} if metrics else None
    loggers = _continued(trainer) if trainer.is_global_zero else {}
    next_step = step + (not batch_to_come and not epoch_to_come)
    return {
        "positions": {name: logger.position(next_step) for name, logger in loggers.items()},
        "row": row,
    }


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


def _batch_has_row(trainer: Trainer) -> bool:
    """Whether Lightning's logger connector will write the row of the batch that was run."""
    accumulates = trainer.fit_loop.epoch_loop._should_accumulate()
    automatic = trainer.lightning_module.automatic_optimization
    return not (accumulates and automatic) and trainer._logger_connector.should_update_logs


def _row(trainer: Trainer) -> dict[str, Any]:
    metrics: dict[str, Any] = convert_tensors_to_scalars(trainer._logger_connector.metrics["log"])
    return {"epoch": trainer.current_epoch, **metrics} if metrics else {}
