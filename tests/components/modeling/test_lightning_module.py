import logging
import math
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf

from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.optimization_spec import OptimizationStep

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

    def forward(self, loss, stats=None, weight=None):
        return self.factor * loss, stats or {"loss": torch.tensor(loss)}, weight


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


# --- logging ----------------------------------------------------------------------------------------------


def logged(runs, train, tmp_path, **options):
    rows = Rows()
    config = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.0}}

    class Logged(lightning.Callback):
        def setup(self, trainer, module, stage):
            trainer.loggers = [rows]

    callbacks = [Logged(), *options.pop("callbacks", [])]
    _, trainer = runs.fit(train, tmp_path, model=Answers(), config=config, callbacks=callbacks, **options)
    return rows.rows, trainer


def test_statistics_are_logged_per_batch_and_as_the_weighted_mean_of_the_epoch(runs, tmp_path):
    train = batches(1.0) + batches(5.0, weight=torch.tensor(3))
    valid = batches(2.0) + batches(4.0, weight=3) + [(["a", "b", "c", "d"], {"loss": 0.0})]
    rows, trainer = logged(runs, train, tmp_path, valid=valid)
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [1.0, 5.0]
    assert [row["train/loss_epoch"] for row in rows if "train/loss_epoch" in row] == [4.0]
    assert [row["valid/loss"] for row in rows if "valid/loss" in row] == [14 / 8]
    assert trainer.callback_metrics["train/loss"] == 4.0
    assert trainer.callback_metrics["valid/loss"] == 14 / 8
    assert {"train/loss", "valid/loss"} <= trainer.progress_bar_metrics.keys()


def test_every_epoch_has_a_mean_of_its_own(runs, tmp_path):
    rows, _ = logged(runs, batches(1.0, 2.0), tmp_path, max_epochs=2, valid=batches(3.0))
    assert [row["train/loss_epoch"] for row in rows if "train/loss_epoch" in row] == [1.5, 1.5]
    trend = Answers()
    trend.forward = lambda **data: (trend.factor * 1.0, {"epoch": float(trend.calls.pop(0))}, None)
    trend.calls = [1, 2, 3, 4]
    config = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.0}}
    _, trainer = runs.fit(batches(0.0, 0.0), tmp_path, model=trend, config=config, max_epochs=2)
    assert trainer.callback_metrics["train/epoch"] == 3.5


def test_a_statistic_that_is_none_is_left_out_and_one_of_some_batches_is_their_mean(runs, tmp_path):
    train = batches(1.0, stats={"a": 1.0, "b": None}) + batches(1.0, stats={"a": 3.0, "b": 7.0})
    _, trainer = logged(runs, train, tmp_path)
    assert trainer.callback_metrics["train/a"] == 2.0
    assert trainer.callback_metrics["train/b"] == 7.0


def test_a_skipped_batch_is_in_no_row_and_no_mean(runs, tmp_path):
    rows, trainer = logged(runs, batches(1.0, math.nan, 3.0), tmp_path)
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [1.0, 3.0]
    assert trainer.callback_metrics["train/loss"] == 2.0


def test_validation_leaves_out_and_counts_what_is_not_finite(runs, tmp_path, caplog):
    valid = batches(1.0, math.nan, 3.0, math.inf)
    _, trainer = logged(runs, batches(1.0), tmp_path, valid=valid)
    assert trainer.callback_metrics["valid/loss"] == 2.0
    assert trainer.callback_metrics["valid/skipped_batches"] == 2
    assert "epoch 1: 2 of 4 validation batches" in caplog.text


def test_statistics_are_never_read_one_by_one_on_their_way_to_lightning(runs, tmp_path, monkeypatch):
    """Only the control values are read in a step, in one go; the statistics stay tensors."""
    reads = []
    for name in ("item", "tolist", "__float__", "__bool__", "__int__"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, name=name, original=original):
            reads.append(name)
            return original(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    module = ESPnetLightningModule(Answers(), {})
    stats = {f"s{index}": torch.tensor(1.0) for index in range(10)}
    module.training_step((["a"], {"loss": 2.0, "stats": stats, "weight": torch.tensor(2)}), 0)
    module.validation_step((["a"], {"loss": 2.0, "stats": stats, "weight": torch.tensor(2)}), 0)
    assert reads == ["tolist"]


# --- skipping ---------------------------------------------------------------------------------------------


def plain_pytorch(runs, indices, bad, accumulate, epochs=1, clip=None):
    """The oracle: each update is the mean over the batches accepted since the last one."""
    model = runs.Linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    held, skipped = [], False
    for _ in range(epochs):
        for position, index in enumerate(indices):
            if index in bad:
                skipped = True
            else:
                loss, _, _ = model(**runs.data(index)[1])
                held.append(torch.autograd.grad(loss, list(model.parameters())))
            closes = (position + 1) % accumulate == 0 or position + 1 == len(indices)
            if closes and index not in bad:
                divisor = len(held) if skipped else accumulate
                for parameter, *gradients in zip(model.parameters(), *held, strict=True):
                    parameter.grad = sum(gradients) / divisor
                if clip:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                held, skipped = [], False
    return model.state_dict()


@pytest.mark.parametrize(
    ("bad", "accumulate"),
    [
        ((), 1),
        ((), 3),  # seven batches: the last window is short, and scaled as Lightning does
        ((2,), 1),
        ((0,), 3),
        ((1,), 2),
        ((3,), 2),
        ((3, 4), 2),
        ((2, 5, 6), 3),
        ((6,), 3),
        ((5, 6), 3),  # the last of the epoch: what is held goes on through validation into the next
        ((0, 1, 2), 3),
    ],
)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_every_update_is_the_mean_over_the_accepted_batches(runs, tmp_path, bad, accumulate, clip):
    train = [runs.data(index, bad=index in bad) for index in range(7)]
    options = {"accumulate_grad_batches": accumulate, "max_epochs": 2, "gradient_clip_val": clip}
    module, _ = runs.fit(train, tmp_path, valid=train[:1], **options)
    expected = plain_pytorch(runs, range(7), bad, accumulate, epochs=2, clip=clip)
    for key, value in expected.items():
        torch.testing.assert_close(module.state_dict()[key], value)


def test_without_nan_training_is_lightnings_own_to_the_bit(runs, tmp_path):
    class Plain(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = runs.Linear()

        def training_step(self, batch, _):
            return self.model(**batch[1])[0]

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.5)
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    train = [runs.data(index) for index in range(7)]
    options = {"max_epochs": 2, "accumulate_grad_batches": 3, "gradient_clip_val": 0.5}
    module, _ = runs.fit(train, tmp_path, config={"scheduler": runs.STEP_LR}, **options)
    plain = Plain()
    lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, **options,
    ).fit(plain, runs.loader(train))  # fmt: skip
    assert runs.same(dict(module.state_dict()), dict(plain.model.state_dict()))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_skipped_batch_moves_nothing_and_says_which_it_was(runs, tmp_path, caplog, precision):
    train = [runs.data(index, bad=index == 1) for index in range(4)]
    states = runs.traced(train, tmp_path, config={"scheduler": runs.STEP_LR}, precision=precision)
    assert runs.same(states[0], states[1])
    assert not runs.same(states[1]["schedulers"], states[2]["schedulers"])
    assert "epoch 1, batch 2" in caplog.text


def test_batch_norm_does_not_keep_what_a_skipped_batch_had(runs, tmp_path):
    class Normed(runs.Linear):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(3)

        def forward(self, x, y):
            return super().forward(self.norm(x), y)

    model = Normed()
    runs.fit([runs.data(0), runs.data(1, bad=True)], tmp_path, model=model)
    assert model.norm.running_mean.isfinite().all()
    assert model.norm.num_batches_tracked == 1


def test_an_epoch_scheduler_moves_though_the_last_batch_was_skipped(runs, tmp_path):
    train = [runs.data(index, bad=index == 2) for index in range(3)]
    config = {"scheduler": runs.STEP_LR, "scheduler_interval": "epoch"}
    _, trainer = runs.fit(train, tmp_path, config=config, max_epochs=2)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05 * 0.9**2)


def test_more_than_a_hundred_in_a_row_end_the_training(runs, tmp_path):
    def run(bad, good):
        runs.fit([runs.data(0, bad=True)] * bad + [runs.data(0)] * good, tmp_path)

    run(bad=100, good=1)
    runs.fit(([runs.data(0, bad=True)] * 60 + [runs.data(0)]) * 2, tmp_path)  # not in a row
    with pytest.raises(RuntimeError, match="101 batches in a row"):
        run(bad=101, good=1)


# --- schedulers that monitor ------------------------------------------------------------------------------


def rates(runs, tmp_path, config, valid, epochs, **trainer):
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


def test_a_plateau_scheduler_steps_after_each_validation_by_its_metric(runs, tmp_path):
    config = {"scheduler_monitor": "valid/loss"}
    assert rates(runs, tmp_path, config, batches(1.0), 3) == [1.0, 1.0, 0.5, 0.25]


def test_a_plateau_scheduler_may_monitor_the_mean_of_the_training_epoch(runs, tmp_path):
    assert rates(runs, tmp_path, {"scheduler_monitor": "train/loss"}, (), 3) == [1.0, 1.0, 0.5, 0.25]


def test_a_plateau_scheduler_waits_in_epochs_without_validation(runs, tmp_path):
    config = {"scheduler_monitor": "valid/loss"}
    seen = rates(runs, tmp_path, config, batches(1.0), 6, check_val_every_n_epoch=2)
    assert seen == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_a_monitor_that_is_never_logged_is_an_error_that_lists_what_was(runs, tmp_path, interval):
    config = {"scheduler_monitor": "valid/los", "scheduler_interval": interval}
    with pytest.raises(Exception, match=r"valid/los\b.*train/loss"):
        rates(runs, tmp_path, config, batches(1.0), 1)


# --- the rest of training -----------------------------------------------------------------------------------


def test_the_start_of_training_is_summarized_once(runs, tmp_path, caplog):
    model = runs.Linear()
    model.linear.bias.requires_grad_(False)
    with caplog.at_level(logging.INFO, logger="espnet3"):
        runs.fit([runs.data(0)], tmp_path, model=model, config={"scheduler": runs.STEP_LR})
    (text,) = [record.getMessage() for record in caplog.records if "parameters" in record.getMessage()]
    for part in (
        "Linear, 4 parameters, 3 trainable",
        "SGD(lr=0.05",
        "StepLR, every step",
        "ranks: 1",
        "32-true",
    ):
        assert part in text


def test_a_checkpoint_of_lightnings_restores_strictly(runs, tmp_path):
    _, trainer = runs.fit([runs.data(0)], tmp_path)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    keys = torch.load(tmp_path / "one.ckpt", weights_only=True)["state_dict"].keys()
    assert set(keys) == {"linear.weight", "linear.bias"}
    other = runs.Given(torch.nn.Linear(3, 1), {"optimizer": runs.SGD}, [runs.data(0)])
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
    from espnet3.components.data.data_organizer import DataOrganizer

    module = ESPnetLightningModule(Answers(), config)
    module._organizer = DataOrganizer(train=[{"name": "t", "dataset": samples}])
    module.position = (0, 1)
    loader = module.train_dataloader()
    assert len(loader) == 3, "an epoch is counted in full"
    assert [uids for uids, _ in loader] == [["u2", "u3"], ["u4"]], "and begins at the position"
    assert module.val_dataloader() == []


def test_no_stray_folder_is_made(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs.fit([runs.data(0)], tmp_path / "exp", valid=[runs.data(1)])
    assert list(Path.cwd().iterdir()) == []
