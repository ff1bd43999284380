import logging
import time
from types import SimpleNamespace

from espnet3.components.checkpoint.log_rows import ContinuedLogger
from espnet3.components.trainers.csv_logger import AppendingCSVLogger
from espnet3.components.trainers.tensorboard_logger import ContinuedTensorBoardLogger


def test_a_curve_of_a_resumed_run_has_every_step_once(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.summary.writer import event_file_writer

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    first = ContinuedTensorBoardLogger(tmp_path, name="", version="")
    for step in range(5):
        first.log_metrics({"train/loss": 1.0}, step=step)
    position = 3
    first.finalize("failed")
    # Files are read by the second in their names, and those of one second by a number without leading zeros.
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: time.time() + 2))
    second = ContinuedTensorBoardLogger(tmp_path, name="", version="")
    second.continue_from(position)
    for step in range(position, 7):
        second.log_metrics({"train/loss": 2.0}, step=step)
    second.finalize("success")
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss")
    assert [(event.step, event.value) for event in events] == [
        *((step, 1.0) for step in range(3)),
        *((step, 2.0) for step in range(3, 7)),
    ]


def test_epochs_begin_at_1(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = ContinuedTensorBoardLogger(tmp_path, name="", version="")
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)
    logger.finalize("success")
    assert [event.value for event in EventAccumulator(str(tmp_path)).Reload().Scalars("epoch")] == [1]


def test_both_default_loggers_can_continue(tmp_path):
    assert isinstance(ContinuedTensorBoardLogger(tmp_path), ContinuedLogger)
    assert isinstance(AppendingCSVLogger(tmp_path / "metrics.csv"), ContinuedLogger)
