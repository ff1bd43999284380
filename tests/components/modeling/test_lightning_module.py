import logging
import math
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf

import training_runs as runs
from espnet3.components.data.data_organizer import DataOrganizer
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.metrics.ratio import Ratio
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.components.trainers.build import build_trainer
from espnet3.rundir.task import Task

PLATEAU = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0, "factor": 0.5}


class Rows(Logger):
    """Keeps what the trainer logs."""

    name = version = "rows"

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append({"step": step, **metrics})

    def log_hyperparams(self, *_):
        pass


class Answers(torch.nn.Module):
    """Returns for each batch what the batch says, times a parameter."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))

    def forward(self, loss, stats=None, weight=None, rate=None):
        stats = stats or {"loss": torch.tensor(loss)}
        return self.factor * loss, stats if rate is None else {**stats, "rate": Ratio(*rate)}, weight


def batches(*losses, **more):
    return [(["u"], {"loss": loss, **more}) for loss in losses]


# --- one step, by hand --------------------------------------------------------------------------------


def test_training_step_returns_the_loss_with_its_graph():
    module = ESPnetLightningModule(Answers(), {})
    loss = module.training_step((["a"], {"loss": 2.0}), 0)
    assert loss.item() == 2.0 and loss.requires_grad


@pytest.mark.parametrize("step", ["training_step", "validation_step"])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((OptimizationStep(torch.ones(()), "g"), {}, None), "OptimizationStep"),
        (([OptimizationStep(torch.ones(()), "g")], {}, None), "OptimizationStep"),
        ((torch.ones(()), [1], None), "stats must be a dict"),
    ],
)
def test_broken_contracts_are_refused_in_training_and_validation(step, answer, message):
    module = ESPnetLightningModule(torch.nn.Identity(), {})
    module.model.forward = lambda **_: answer
    with pytest.raises(AssertionError, match=message):
        getattr(module, step)((["a"], {}), 0)


def test_the_state_dict_is_the_models_own():
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    module = ESPnetLightningModule(model, {})
    assert list(module.state_dict()) == ["0.weight", "0.bias"]
    module.load_state_dict({"0.weight": torch.zeros(1, 2), "0.bias": torch.ones(1)})
    assert model[0].bias.item() == 1
    with pytest.raises(RuntimeError, match=r"0\.bias"):
        module.load_state_dict({"0.weight": torch.zeros(1, 2)})
    assert module.load_state_dict({"0.weight": torch.zeros(1, 2)}, strict=False).missing_keys == ["0.bias"]


def test_collect_stats_needs_a_directory():
    with pytest.raises(AssertionError, match=r"collect_stats\(\) needs config.stats_dir; given: None"):
        ESPnetLightningModule(Answers(), {}).collect_stats()


def test_collect_stats_saves_statistics_and_shapes_of_both_splits(tmp_path):
    class Doubling(Answers):
        def collect_feats(self, value, value_lengths):
            return {"feats": 2 * value, "feats_lengths": value_lengths}

    samples = [{"uid": f"u{index}", "value": np.full((3, 2), index, np.float32)} for index in range(4)]
    module = ESPnetLightningModule(Doubling(), {"stats_dir": str(tmp_path / "stats")})
    module.data.organizer = DataOrganizer(
        train=[{"name": "t", "dataset": samples}], valid=[{"name": "v", "dataset": samples[:1]}]
    )
    module.collect_stats()
    with np.load(tmp_path / "stats" / "train" / "feats_stats.npz") as stats:
        assert stats["count"] == 12 and stats["sum"].tolist() == [36.0, 36.0]
    assert (tmp_path / "stats" / "valid" / "feats_shape").read_text() == "u0 3,2\n"


# --- logging ----------------------------------------------------------------------------------------------


def logged(train, tmp_path, **options):
    rows = Rows()
    config = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.0}}

    class Logged(lightning.Callback):
        def setup(self, trainer, module, stage):
            trainer.loggers = [rows]

    callbacks = [Logged(), *options.pop("callbacks", [])]
    _, trainer = runs.fit(train, tmp_path, model=Answers(), config=config, callbacks=callbacks, **options)
    return rows.rows, trainer


def test_statistics_are_logged_per_batch_and_as_the_weighted_mean_of_the_epoch(tmp_path):
    train = batches(1.0) + batches(5.0, weight=torch.tensor(3))
    valid = batches(2.0) + batches(4.0, weight=3) + [(["a", "b", "c", "d"], {"loss": 0.0})]
    rows, trainer = logged(train, tmp_path, valid=valid)
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [1.0, 5.0]
    assert [row["train/loss_epoch"] for row in rows if "train/loss_epoch" in row] == [4.0]
    assert [row["valid/loss"] for row in rows if "valid/loss" in row] == [14 / 8]
    assert trainer.callback_metrics["train/loss"] == 4.0
    assert trainer.callback_metrics["valid/loss"] == 14 / 8
    assert {"train/loss", "valid/loss"} <= trainer.progress_bar_metrics.keys()


def test_callbacks_see_the_values_of_every_batch_and_loggers_those_of_logging_steps(tmp_path):
    seen = []

    class Looks(lightning.Callback):
        def on_train_batch_end(self, trainer, *_):
            seen.append((float(trainer.callback_metrics["train/loss"]), dict(trainer.logged_metrics)))

    values = [1.0, 2.0, math.nan, 4.0, 5.0]
    rows, _ = logged(batches(*values), tmp_path, callbacks=[Looks()], log_every_n_steps=2)
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [2.0, 4.0]
    assert [loss for loss, _ in seen] == [1.0, 2.0, 2.0, 4.0, 5.0]
    assert [float(metrics["train/loss"]) for _, metrics in seen] == [1.0, 2.0, 2.0, 4.0, 5.0]


def test_what_a_subclass_logs_itself_is_in_every_batch(tmp_path):
    class Own(runs.SweepCommand):
        def training_step(self, batch, batch_idx):
            self.log("own", float(batch_idx))
            return super().training_step(batch, batch_idx)

    seen = []

    class Looks(lightning.Callback):
        def on_train_batch_end(self, trainer, *_):
            seen.append(float(trainer.callback_metrics["own"]))

    sgd = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.0}}
    module = Own(Answers(), sgd, batches(1.0, 2.0, 3.0), (), 0)
    config = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "log_every_n_steps": 2}
    whole = OmegaConf.create({"exp_dir": str(tmp_path), "logger": {}, "trainer": config})
    build_trainer(whole, Task.single("train"), [Looks()]).fit(module)
    assert seen == [0.0, 1.0, 2.0]


def test_the_data_of_a_batch_move_to_the_device_and_its_uids_stay():
    module = ESPnetLightningModule(Answers(), {})
    uids, meta = ["a", "b"], torch.device("meta")
    moved = module.transfer_batch_to_device((uids, {"x": {"y": torch.ones(2)}}), meta, 0)
    assert moved[0] is uids and moved[1]["x"]["y"].device.type == "meta"
    assert module.transfer_batch_to_device([torch.ones(2)], meta, 0)[0].device.type == "meta"
    batch = (uids, {"x": torch.ones(2)})
    assert module.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch


def test_every_epoch_has_a_mean_of_its_own(tmp_path):
    rows, _ = logged(batches(1.0, 2.0), tmp_path, max_epochs=2, valid=batches(3.0))
    assert [row["train/loss_epoch"] for row in rows if "train/loss_epoch" in row] == [1.5, 1.5]
    trend = Answers()
    trend.forward = lambda **data: (trend.factor * 1.0, {"epoch": float(trend.calls.pop(0))}, None)
    trend.calls = [1, 2, 3, 4]
    config = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.0}}
    _, trainer = runs.fit(batches(0.0, 0.0), tmp_path, model=trend, config=config, max_epochs=2)
    assert trainer.callback_metrics["train/epoch"] == 3.5


def test_a_statistic_that_is_none_is_left_out_and_one_of_some_batches_is_their_mean(tmp_path):
    train = batches(1.0, stats={"a": 1.0, "b": None}) + batches(1.0, stats={"a": 3.0, "b": 7.0})
    _, trainer = logged(train, tmp_path)
    assert trainer.callback_metrics["train/a"] == 2.0
    assert trainer.callback_metrics["train/b"] == 7.0


def test_a_ratio_is_that_of_all_batches_and_a_row_has_that_of_its_batch(tmp_path):
    data = batches(1.0, rate=(1, 2)) + batches(1.0, rate=(1, torch.tensor(6)), weight=5.0)
    rows, trainer = logged(data, tmp_path, valid=data)
    assert [row["train/rate"] for row in rows if "train/rate" in row] == [0.5, pytest.approx(1 / 6)]
    assert trainer.callback_metrics["train/rate"] == trainer.callback_metrics["valid/rate"] == 0.25


def test_a_ratio_without_anything_to_count_is_no_metric(tmp_path):
    _, trainer = logged(batches(1.0, rate=(0, 0)), tmp_path, valid=batches(1.0, rate=(0, 0)))
    assert not {"train/rate_epoch", "valid/rate"} & trainer.callback_metrics.keys()


def test_a_skipped_batch_is_in_no_row_and_no_mean(tmp_path):
    rows, trainer = logged(batches(1.0, math.nan, 3.0), tmp_path)
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [1.0, 3.0]
    assert trainer.callback_metrics["train/loss"] == 2.0


def test_validation_leaves_out_and_counts_what_is_not_finite(tmp_path, caplog):
    valid = batches(1.0, math.nan, 3.0, math.inf)
    _, trainer = logged(batches(1.0), tmp_path, valid=valid)
    assert trainer.callback_metrics["valid/loss"] == 2.0
    assert trainer.callback_metrics["valid/skipped_batches"] == 2
    assert "epoch 1: 2 of 4 validation batches" in caplog.text


# --- schedulers that monitor ------------------------------------------------------------------------------


def rates(tmp_path, config, valid, epochs, **trainer):
    seen = []

    class Rate(lightning.Callback):
        def on_train_epoch_start(self, trainer, module):
            seen.append(trainer.optimizers[0].param_groups[0]["lr"])

        def on_train_end(self, trainer, module):
            seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    config = {
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 1.0},
        "scheduler": PLATEAU,
        "scheduler_interval": "epoch",
        **config,
    }
    # the loss does not depend on the parameter's size where nothing but its sign could improve it
    runs.fit(
        batches(0.0), tmp_path, model=Answers(), config=config, valid=valid, callbacks=[Rate()],
        max_epochs=epochs, **trainer,
    )  # fmt: skip
    return seen


def test_a_plateau_scheduler_steps_after_each_validation_by_its_metric(tmp_path):
    config = {"scheduler_monitor": "valid/loss"}
    assert rates(tmp_path, config, batches(1.0), 3) == [1.0, 1.0, 0.5, 0.25]


def test_a_plateau_scheduler_may_monitor_the_mean_of_the_training_epoch(tmp_path):
    assert rates(tmp_path, {"scheduler_monitor": "train/loss"}, (), 3) == [1.0, 1.0, 0.5, 0.25]


def test_a_plateau_scheduler_waits_in_epochs_without_validation(tmp_path):
    config = {"scheduler_monitor": "valid/loss"}
    seen = rates(tmp_path, config, batches(1.0), 6, check_val_every_n_epoch=2)
    assert seen == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(("interval", "monitor"), [("step", "train/los"), ("epoch", "valid/los")])
def test_a_monitor_that_is_never_logged_is_an_error_that_lists_what_was(tmp_path, interval, monitor):
    config = {"scheduler_monitor": monitor, "scheduler_interval": interval}
    with pytest.raises(Exception, match=rf"{monitor}\b.*train/loss"):
        rates(tmp_path, config, batches(1.0), 1)


# --- the rest of training -----------------------------------------------------------------------------------


def test_the_start_of_training_is_summarized_once(tmp_path, caplog):
    model = runs.Linear()
    model.linear.bias.requires_grad_(False)
    with caplog.at_level(logging.INFO, logger="espnet3"):
        runs.fit([runs.data(0)], tmp_path, model=model, config={"scheduler": runs.STEP_LR})
    (text,) = [record.getMessage() for record in caplog.records if "parameters" in record.getMessage()]
    for part in (
        "Linear, 4 parameters, 3 trainable",
        "SGD(lr=0.05, momentum=0.5)",
        "StepLR, every step",
        "ranks: 1",
        "32-true",
    ):
        assert part in text


def test_a_checkpoint_of_lightnings_restores_strictly(tmp_path):
    _, trainer = runs.fit([runs.data(0)], tmp_path)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    keys = torch.load(tmp_path / "one.ckpt", weights_only=True)["state_dict"].keys()
    assert set(keys) == {"linear.weight", "linear.bias"}
    other = runs.SweepCommand(torch.nn.Linear(3, 1), {"optimizer": runs.SGD}, [runs.data(0)])
    with pytest.raises(RuntimeError, match=r"linear\.weight"):
        trainer.fit(other, ckpt_path=tmp_path / "one.ckpt", weights_only=True)


def test_loaders_are_this_ranks_share_by_the_builder(tmp_path):
    samples = [{"uid": f"u{index}", "value": torch.tensor([float(index)])} for index in range(5)]
    config = OmegaConf.create(
        {
            "dataset": {
                "_target_": "espnet3.components.data.data_organizer.DataOrganizer",
                "train": [{"name": "t", "dataset": None}],
            },
            "dataloader": {"train": {"batch_size": 2, "shuffle": False}, "valid": {"batch_size": 2}},
        },
    )
    module = ESPnetLightningModule(Answers(), config)
    module.data.organizer = DataOrganizer(train=[{"name": "t", "dataset": samples}])
    module.place.after_batch(0, 0)
    loader = module.train_dataloader()
    assert len(loader) == 3, "an epoch is counted in full"
    assert [uids for uids, _ in loader] == [["u2", "u3"], ["u4"]], "and begins at the position"
    assert module.val_dataloader() == []


def test_no_stray_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs.fit([runs.data(0)], tmp_path / "exp", valid=[runs.data(1)])
    assert list(Path.cwd().iterdir()) == []
