import json
import logging
import re
from types import SimpleNamespace

import pytest

import named_runs
import training_runs as runs
from espnet3.components.callbacks.progress import Progress, batches_left
from espnet3.rundir.heartbeat import Heartbeat
from espnet3.rundir.task import Task


class Kept(Heartbeat):
    """Writes always, and keeps what it wrote."""

    def __init__(self, path):
        super().__init__(path, every_s=0.0)
        self.written = []

    def update(self, *, force=False, **fields):
        super().update(force=force, **fields)
        self.written.append(json.loads(self.path.read_text()))


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("epoch")]


def test_the_heartbeat_says_epoch_batch_and_metrics(tmp_path):
    task = Task("train", heartbeat=Kept(tmp_path / "beat.json"))
    train, valid = [runs.data(index) for index in range(3)], [runs.data(0)]
    runs.fit(train, tmp_path, valid=valid, task=task, callbacks=[Progress(task)], max_epochs=2)
    beats = task.heartbeat.written
    assert [beat["done"] for beat in beats if beat["unit"] == "batch"] == [0, 1, 2, 3, 3, 1, 2, 3, 3]
    assert {beat["total"] for beat in beats if beat["unit"] == "batch"} == {3}
    assert any(beat["unit"] == "validation batch" for beat in beats)
    assert beats[0]["epoch"] == 1 and beats[-1]["epoch"] == beats[-1]["max_epochs"] == 2
    assert set(beats[-1]["metrics"]) == {"train/loss", "valid/loss"}


@pytest.mark.parametrize("monitor", ["valid/loss", "train/loss"])
def test_the_heartbeat_begins_with_the_monitored_metric(tmp_path, monitor):
    task = Task("train", heartbeat=Kept(tmp_path / "beat.json"))
    runs.fit([runs.data(0)], tmp_path, valid=[runs.data(0)], task=task, callbacks=[Progress(task, monitor)])
    assert next(iter(task.heartbeat.written[-1]["metrics"])) == monitor


def test_the_heartbeat_says_speed_memory_and_when_it_will_end(tmp_path):
    task = Task("train", heartbeat=Kept(tmp_path / "beat.json"))
    train = [runs.data(index) for index in range(3)]
    runs.fit(train, tmp_path, task=task, callbacks=[Progress(task)], max_epochs=2)
    beats = task.heartbeat.written
    assert "eta_s" not in beats[0], "nothing has been run yet"
    assert beats[-1]["eta_s"] == 0 < beats[1]["eta_s"]
    assert beats[-1]["utterances_per_s"] > 0
    assert 10e6 < beats[0]["memory"] < 100e9, "bytes"


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({"max_epochs": 4}, 3 * 10 - 6),
        ({"max_epochs": -1, "max_steps": 8}, (8 - 5) * 2),
        ({"max_epochs": 4, "max_steps": 8}, 6),
        ({"max_epochs": -1}, None),
    ],
)
def test_batches_left(limits, left):
    at = {"current_epoch": 1, "num_training_batches": 10, "global_step": 5, "accumulate_grad_batches": 2}
    trainer = SimpleNamespace(**{"max_steps": -1, **at, **limits})
    assert batches_left(trainer, 6) == left


def test_no_metric_is_read_before_the_heartbeat_is_due(tmp_path, monkeypatch):
    task = Task("train", heartbeat=Heartbeat(tmp_path / "beat.json", every_s=1e9))
    read = []
    monkeypatch.setattr("espnet3.components.callbacks.progress._floats", lambda *_: read.append(1) or {})
    trace = runs.Trace()
    progress = Progress(task)
    train = [runs.data(index) for index in range(5)]
    runs.fit(train, tmp_path, task=task, callbacks=[progress, trace])
    assert len(trace.states) == 5
    assert len(read) == 2, "for the heartbeat and the line at the end of the epoch only"


def test_each_epoch_ends_with_one_line(tmp_path, caplog):
    task = Task.single("train")
    with caplog.at_level(logging.INFO, logger="espnet3"):
        train, valid = [runs.data(index) for index in range(3)], [runs.data(0)]
        runs.fit(train, tmp_path, valid=valid, callbacks=[Progress(task)], max_epochs=2)
    first, second = lines(caplog)
    pattern = r"epoch 1/2: valid loss \S+, train loss \S+, lr 0.05, \d+ utterances/s"
    assert re.fullmatch(pattern, first)
    assert second.startswith("epoch 2/2: ")


def test_named_optimizers_are_named_in_the_summary_and_beside_their_learning_rates(tmp_path, caplog):
    schedulers = {name: {"scheduler": named_runs.STEP_LR} for name in ("generator", "discriminator")}
    with caplog.at_level(logging.INFO, logger="espnet3"):
        configuration = named_runs.config(schedulers=schedulers)
        progress = Progress(Task.single("train"))
        named_runs.train([named_runs.batch(0)], tmp_path, configuration, callbacks=[progress])
    summary = next(record.getMessage() for record in caplog.records if "ranks:" in record.getMessage())
    assert re.search(r"  optimizer generator: \w+\(lr=.*\n  optimizer discriminator: \w+\(lr=", summary)
    assert "  scheduler discriminator: ExponentialLR, every " in summary
    assert re.search(r", lr generator \S+ discriminator \S+, \d+ utterances/s$", lines(caplog)[0])


def test_an_epoch_of_which_this_process_ran_no_batch_has_no_speed(tmp_path, caplog):
    progress = Progress(Task.single("train"))
    module, trainer = runs.fit([runs.data(0)], tmp_path, callbacks=[progress])
    with caplog.at_level(logging.INFO, logger="espnet3"):
        progress.on_train_epoch_start(trainer, module)
        progress.on_train_epoch_end(trainer, module)
    assert "utterances/s" not in lines(caplog)[-1]


def test_a_long_epoch_has_lines_in_between(tmp_path, caplog):
    task = Task.single("train")
    with caplog.at_level(logging.INFO, logger="espnet3"):
        runs.fit([runs.data(0)] * 2, tmp_path, callbacks=[Progress(task, log_every_s=0.0)])
    assert [line.split(":")[0] for line in lines(caplog)] == [
        "epoch 1/1, batch 1/2",
        "epoch 1/1, batch 2/2",
        "epoch 1/1",
    ]


def test_only_rank_0_logs_lines(tmp_path, caplog):
    progress = Progress(Task("train", rank=1, world_size=2), log_every_s=0.0)
    with caplog.at_level(logging.INFO, logger="espnet3"):
        runs.fit([runs.data(0)], tmp_path, callbacks=[progress])
    assert lines(caplog) == []
