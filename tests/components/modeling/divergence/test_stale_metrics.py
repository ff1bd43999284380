"""A metric is shown, ranked and monitored only with the epoch that made it."""

import json
import logging
import math

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

import training_runs as runs
from espnet3.components.callbacks.progress import Progress
from espnet3.components.checkpoint.ranking import read_ranking
from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint
from espnet3.components.trainers.csv_logger import AppendingCSVLogger
from espnet3.rundir.curves import read_curves
from espnet3.rundir.heartbeat import Heartbeat
from espnet3.rundir.task import Task

TRAIN = [runs.data(index) for index in range(3)]


class BadFrom(torch.nn.Module):
    """From an epoch on, validations have no finite loss, and a statistic of training is gone."""

    def __init__(self, epoch):
        super().__init__()
        self.model, self.batches_before, self.batches = runs.Linear(), (epoch - 1) * len(TRAIN), 0

    def forward(self, x, y, **_):
        self.batches += self.training
        is_good = self.batches <= self.batches_before
        loss, stats, weight = self.model(x, y)
        if not is_good and not self.training:
            loss, stats = loss * torch.nan, {"loss": loss * torch.nan}
        return loss, {**stats, "early": loss.detach() if is_good else None}, weight


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records if "utterances/s" in record.getMessage()]


def heartbeat(task):
    return json.loads(task.heartbeat.path.read_text())["metrics"]


def test_a_validation_without_a_finite_batch_has_no_result(tmp_path, caplog, lines):
    task = Task("train", heartbeat=Heartbeat(tmp_path / "beat.json", every_s=0.0))
    checkpoints = RunCheckpoint(tmp_path, "valid/loss")
    callbacks = [Progress(task, "valid/loss"), checkpoints]
    logger = {"_target_": f"{AppendingCSVLogger.__module__}.AppendingCSVLogger", "path": f"{tmp_path}/m.csv"}
    runs.fit(
        TRAIN, tmp_path, model=BadFrom(3), valid=TRAIN[:2], task=task, callbacks=callbacks,
        max_epochs=4, logger={"csv": logger},
    )  # fmt: skip
    assert (
        "epoch 3: no validation batch (of 2) has a finite loss: the validation has no result" in caplog.text
    )
    assert ["valid loss nan" in line for line in lines()] == [False, False, True, True]
    assert "train/early" not in heartbeat(task)
    assert math.isnan(heartbeat(task)["valid/loss"])
    assert sorted(entry.epoch for entry in read_ranking(tmp_path).best) == [1, 2]
    assert [epoch for epoch, _ in read_curves(tmp_path / "m.csv", by="epoch")["valid/loss"]] == [1, 2]


def test_early_stopping_sees_that_there_is_no_result(tmp_path):
    stopping = EarlyStopping("valid/loss", patience=100)
    _, trainer = runs.fit(
        TRAIN, tmp_path, model=BadFrom(3), valid=TRAIN[:2], callbacks=[stopping], max_epochs=9
    )
    assert (stopping.stopped_epoch, trainer.current_epoch) == (2, 3)


def test_an_epoch_without_validation_shows_none_and_ranks_none(tmp_path, lines):
    task = Task("train", heartbeat=Heartbeat(tmp_path / "beat.json", every_s=0.0))
    checkpoints = RunCheckpoint(tmp_path, "valid/loss", save_top_k=9)
    runs.fit(
        TRAIN, tmp_path, valid=TRAIN[:1], task=task, callbacks=[Progress(task), checkpoints],
        max_epochs=3, check_val_every_n_epoch=2,
    )  # fmt: skip
    assert ["valid" in line for line in lines()] == [False, True, False]
    assert heartbeat(task).keys() == {"train/loss"}
    assert [entry.epoch for entry in read_ranking(tmp_path).best] == [2]


def test_a_metric_of_training_that_an_epoch_did_not_make_is_not_ranked(tmp_path):
    checkpoints = RunCheckpoint(tmp_path, "train/early", save_top_k=9)
    runs.fit(TRAIN, tmp_path, model=BadFrom(3), callbacks=[checkpoints], max_epochs=4)
    assert sorted(entry.epoch for entry in read_ranking(tmp_path).best) == [1, 2]


def test_while_an_epoch_has_no_accepted_batch_it_shows_no_metrics(tmp_path):
    task = Task("train", heartbeat=Heartbeat(tmp_path / "beat.json", every_s=0.0))
    seen = []

    class See(runs.Callback):
        def on_train_batch_start(self, trainer, *_):
            seen.append(heartbeat(task) if trainer.global_step else None)

    train = [runs.data(0, bad=True), *TRAIN]
    runs.fit(train, tmp_path, task=task, callbacks=[Progress(task), See()], max_epochs=2)
    assert [bool(metrics) for metrics in seen] == [False, False, True, True, True, False, True, True]
