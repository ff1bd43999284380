"""The LightningModule with named optimizers under a real Trainer, on one rank."""

import copy

import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins import MixedPrecision

import named_runs as runs
from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.errors import UserError
from training_runs import same

BOTH = runs.BOTH


def test_weights_equal_plain_pytorch_by_torch_autograd_grad(tmp_path):
    model, plain = runs.Gan(), runs.Gan()
    batches = [runs.batch(index, names) for index, names in enumerate(runs.NAMES)]
    runs.train(batches, tmp_path, model=model)
    parameters = {name: list(getattr(plain, name).parameters()) for name in BOTH}
    optimizers = {name: torch.optim.AdamW(parameters[name], lr=0.01) for name in BOTH}
    for _, data in batches:
        losses = plain.losses(data["x"])
        for name in data["names"]:
            gradients = torch.autograd.grad(losses[name], parameters[name], retain_graph=True)
            for parameter, gradient in zip(parameters[name], gradients, strict=True):
                parameter.grad = gradient
        for name in data["names"]:
            optimizers[name].step()
    assert same(dict(model.state_dict()), dict(plain.state_dict()))


def test_bf16_mixed_runs_the_forward_pass_in_bfloat16_and_the_backward_pass_outside_of_autocast(tmp_path):
    model, plain = runs.Gan(), runs.Gan()
    seen = []
    model.generator[0].register_forward_hook(lambda *a: seen.append(a[2].dtype))
    model.generator[0].weight.register_hook(lambda _: seen.append(torch.is_autocast_enabled("cpu")))
    runs.train([runs.batch(0, ["generator"])], tmp_path, model=model, precision="bf16-mixed")
    assert seen == [torch.bfloat16, False]
    with torch.autocast("cpu", torch.bfloat16):
        loss = plain.losses(runs.batch(0)[1]["x"])["generator"]
    loss.backward(inputs=list(plain.generator.parameters()))
    torch.optim.AdamW(plain.generator.parameters(), lr=0.01).step()
    assert same(dict(model.state_dict()), dict(plain.state_dict()))


def test_who_is_not_named_is_bit_identical_after_the_batch(tmp_path):
    trace = runs.Trace()
    step_lr = {"scheduler": runs.STEP_LR, "interval": "step"}
    options = runs.config({"accum_grad_steps": 3}, {"accum_grad_steps": 2}, dict.fromkeys(BOTH, step_lr))
    names = [BOTH, BOTH, ["generator"], ["discriminator"], ["generator"], BOTH]
    runs.train(
        [runs.batch(i, n, single=len(n) == 1) for i, n in enumerate(names)], tmp_path, options, trace=trace
    )
    for index in (2, 3, 4):
        before, after = trace.states[index - 1], trace.states[index]
        for name in BOTH:
            assert same(before[name], after[name]) is (name not in names[index])


def test_a_batch_with_nan_moves_nothing_and_counts_nowhere(tmp_path):
    trace, plain = runs.Trace(), runs.Trace()
    options = runs.config({"accum_grad_steps": 2}, {"step_every_n_iters": 2})
    bad = [runs.batch(0), runs.batch(1, bad=True), runs.batch(2), runs.batch(3)]
    module, trainer = runs.train(bad, tmp_path, options, trace=trace)
    assert same(trace.states[0], trace.states[1])
    without, _ = runs.train([bad[0], *bad[2:]], tmp_path, options, trace=plain)
    assert same(trace.states[-1], plain.states[-1])
    assert same(dict(module.state_dict()), dict(without.state_dict()))  # buffers too
    assert trainer.global_step == 4


class Logged(Callback):
    """What the loggers would get, by batch."""

    def __init__(self):
        self.batches = []

    def setup(self, trainer, module, stage):
        trainer.loggers = [DummyLogger()]

    def on_train_batch_end(self, trainer, module, *_):
        results = trainer.fit_loop.epoch_loop._results.metrics(on_step=True)["log"]
        self.batches.append({key: float(value) for key, value in results.items()})


def test_losses_rates_norms_and_updates_are_logged_by_name(tmp_path):
    logged = Logged()
    options = runs.config(
        {"gradient_clip_val": 1e-3},
        {"accum_grad_steps": 2},
        {n: {"scheduler": runs.STEP_LR, "interval": "step"} for n in BOTH},
    )
    batches = [runs.batch(0), runs.batch(1)]
    model = runs.Gan()
    first = copy.deepcopy(model).losses(batches[0][1]["x"])
    _, trainer = runs.train(
        batches, tmp_path, options, callbacks=[logged], model=model, valid=[runs.batch(2)]
    )
    row = logged.batches[0]
    assert row["train/generator/loss"] == row["train/fake"] == pytest.approx(float(first["generator"]))
    assert row["train/discriminator/loss"] == pytest.approx(float(first["discriminator"]))
    assert (row["train/generator/update_step"], row["train/discriminator/update_step"]) == (1, 0)
    assert row["train/generator/lr"] == pytest.approx(0.009)
    assert row["train/discriminator/lr"] == pytest.approx(0.01)
    assert row["train/generator/grad_norm"] > 1e-3 and "train/discriminator/grad_norm" not in row
    assert (
        logged.batches[1]["train/generator/update_step"],
        logged.batches[1]["train/discriminator/update_step"],
    ) == (2, 1)
    metrics = trainer.callback_metrics
    assert {
        "valid/generator/loss",
        "valid/discriminator/loss",
        "valid/fake",
        "train/generator/loss_epoch",
    } <= set(metrics)
    means = [rows["train/discriminator/loss"] for rows in logged.batches]
    assert float(metrics["train/discriminator/loss"]) == pytest.approx(sum(means) / 2)


def test_a_row_repeats_what_its_batch_has_nothing_new_about_until_one_is_skipped(tmp_path):
    single = runs.batch(2, ["discriminator"])
    seen = []
    for between in ([], [runs.batch(1, bad=True)]):
        logged = Logged()
        runs.train([runs.batch(0), *between, single], tmp_path, callbacks=[logged])
        seen.append(logged.batches)
    (first, repeated), (_, skipped, after) = seen
    assert repeated["train/generator/loss"] == first["train/generator/loss"]
    assert repeated["train/discriminator/loss"] != first["train/discriminator/loss"]
    assert not any(key.startswith("train/") for key in skipped)
    assert "train/generator/loss" not in after and "train/discriminator/loss" in after


def test_max_steps_and_names_of_checkpoints_mean_batches(tmp_path):
    checkpoint = RunCheckpoint(tmp_path / "checkpoints", "valid/generator/loss")
    options = {"valid": [runs.batch(9)], "callbacks": [checkpoint], "max_epochs": 2}
    _, trainer = runs.train([runs.batch(index) for index in range(3)], tmp_path, **options)
    assert trainer.global_step == 6
    kept = {path.name for path in (tmp_path / "checkpoints").glob("*.ckpt")}
    assert {"epoch=1-step=3.ckpt", "epoch=2-step=6.ckpt", "last.ckpt"} == kept
    _, trainer = runs.train([runs.batch(index) for index in range(3)], tmp_path, max_epochs=9, max_steps=5)
    assert trainer.global_step == 5


def _rates(module):
    return {named.name: named.optimizer.param_groups[0]["lr"] for named in module.named.engine.values()}


def test_epoch_schedulers_move_at_the_end_of_epochs_that_refreshed_their_metric(tmp_path):
    rates = []

    class Rates(Callback):
        def on_train_epoch_start(self, trainer, module):
            rates.append(_rates(module))

    schedulers = {
        "discriminator": {"scheduler": runs.STEP_LR},
        "generator": {"scheduler": {**runs.PLATEAU, "mode": "max"}, "monitor": "valid/generator/loss"},
    }
    runs.train(
        [runs.batch(0)],
        tmp_path,
        runs.config(schedulers=schedulers),
        valid=[runs.batch(5)],
        callbacks=[Rates()],
        max_epochs=7,
        check_val_every_n_epoch=2,
    )
    assert [rate["discriminator"] for rate in rates] == pytest.approx([0.01 * 0.9**e for e in range(7)])
    generator = [rate["generator"] for rate in rates]
    # Validated after epochs 2, 4, 6: the loss falls, which `max` takes for worse from the second time on.
    assert generator == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.0025])


@pytest.mark.parametrize("monitor", ["train/generator/loss", "valid/discriminator/loss", "train/fake"])
def test_losses_and_statistics_can_be_monitored(tmp_path, monitor):
    schedulers = {name: {"scheduler": runs.PLATEAU, "monitor": monitor} for name in BOTH}
    module, _ = runs.train(
        [runs.batch(0)], tmp_path, runs.config(schedulers=schedulers), valid=[runs.batch(1)]
    )
    best = [named.schedule.scheduler.best for named in module.named.engine.values()]
    assert all(torch.isfinite(torch.as_tensor(value)) for value in best)


def test_a_monitor_that_was_never_logged_is_an_error_with_those_that_were(tmp_path):
    schedulers = {name: {"scheduler": runs.PLATEAU, "monitor": "valid/decoder/loss"} for name in BOTH}
    with pytest.raises(UserError, match=r"schedulers\.generator\.monitor.*valid/decoder/loss.*valid/fake"):
        runs.train([runs.batch(0)], tmp_path, runs.config(schedulers=schedulers), valid=[runs.batch(1)])


def test_an_epoch_that_never_returned_the_monitored_loss_does_not_move_its_scheduler(tmp_path):
    moved = []

    class Moved(Callback):
        def on_train_epoch_start(self, trainer, module):
            moved.append(module.named.engine["generator"].schedule.scheduler.last_epoch)

    schedulers = {name: {"scheduler": runs.PLATEAU, "monitor": "train/generator/loss"} for name in BOTH}
    epochs = [[BOTH], [["discriminator"]], [["discriminator"]], [BOTH], [BOTH]]

    class Epochs(runs.training_runs.SweepCommand):
        def train_dataloader(self):
            names = epochs[self.current_epoch]
            return runs.training_runs.loader([runs.batch(0, n) for n in names])

    module = Epochs(runs.Gan(), runs.config(schedulers=schedulers), [])
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=5,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[Moved()],
        reload_dataloaders_every_n_epochs=1,
    )
    trainer.fit(module)
    assert moved == [0, 1, 1, 1, 2]


SPECIFIED = """
optimizers:
  generator:
    optimizer: {_target_: torch.optim.Adam, lr: 0.0002}
    params: generator
    accum_grad_steps: 1
    step_every_n_iters: 1
    gradient_clip_val: 1.0
    gradient_clip_algorithm: norm
  discriminator:
    optimizer: {_target_: torch.optim.Adam, lr: 0.0002}
    params: discriminator
    accum_grad_steps: 1
    step_every_n_iters: 1
schedulers:
  generator:
    scheduler:
      _target_: torch.optim.lr_scheduler.LinearLR
      start_factor: 1.0
      end_factor: 0.5
      total_iters: 1000
    interval: step
  discriminator:
    scheduler: {_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, patience: 2, factor: 0.5}
    interval: epoch
    monitor: valid/discriminator/loss
"""


def test_the_example_of_the_specification_trains(tmp_path):
    config = {"optimizer": None, **yaml.safe_load(SPECIFIED)}
    never_better = {"patience": 0, "threshold": 1e9, "threshold_mode": "abs"}
    config["schedulers"]["discriminator"]["scheduler"] |= never_better
    batches = [runs.batch(0), runs.batch(1, ["generator"], single=True)]
    module, _ = runs.train(batches, tmp_path, config, valid=[runs.batch(5)], max_epochs=3)
    generator, discriminator = module.named.engine.values()
    assert (generator.counters.update_step, discriminator.counters.update_step) == (6, 3)
    assert _rates(module)["generator"] == pytest.approx(0.0002 * (1 - 0.5 * 6 / 1000))
    assert _rates(module)["discriminator"] == pytest.approx(0.0002 / 4)


# --- checkpoints -------------------------------------------------------------------------------------------


def test_counters_are_kept_in_checkpoints_and_configuring_does_not_reset_them(tmp_path):
    module = ESPnetLightningModule(runs.Gan(), runs.config())
    state = {
        "generator": {"iterations": 7, "accum_counter": 0, "update_step": 3},
        "discriminator": {"iterations": 5, "accum_counter": 0, "update_step": 5},
    }
    module.on_load_checkpoint({"espnet3": {"position": [2, 0], "named": state}})
    module.configure_optimizers()
    saved = {}
    module.on_save_checkpoint(saved)
    assert saved["espnet3"]["named"] == state


def test_counters_that_are_restored_after_configuring_continue_too():
    module = ESPnetLightningModule(
        runs.Gan(), runs.config({"accum_grad_steps": 2}, {"step_every_n_iters": 3})
    )
    module.configure_optimizers()
    two_keys = {"accum_counter": 1, "update_step": 4}
    module.on_load_checkpoint({"espnet3": {"named": dict.fromkeys(BOTH, two_keys)}})
    saved = {}
    module.on_save_checkpoint(saved)
    assert saved["espnet3"]["named"] == {
        "generator": {"iterations": 9, **two_keys},
        "discriminator": {"iterations": 15, **two_keys},
    }


@pytest.mark.parametrize("key", ["generator/loss", "discriminator/lr", "generator/update_step"])
def test_a_statistic_with_the_name_of_a_loss_is_refused(key):
    class Colliding(runs.Gan):
        def forward(self, **batch):
            steps, stats, weight = super().forward(**batch)
            return steps, {**stats, key: 1.0}, weight

    module = ESPnetLightningModule(Colliding(), runs.config())
    for step in (module.training_step, module.validation_step):
        with pytest.raises(AssertionError, match=rf"stats\['{key}'\] is what is logged about an optimizer"):
            step(runs.batch(0), 0)


@pytest.mark.parametrize("schedule", [None, "step", "epoch"])
def test_a_continued_training_is_the_undisturbed_one_also_with_the_names_in_another_order(tmp_path, schedule):
    def options(order):
        schedulers = schedule and {name: {"scheduler": runs.STEP_LR, "interval": schedule} for name in order}
        whole = runs.config({"step_every_n_iters": 2}, {"gradient_clip_val": 0.1}, schedulers)
        whole["optimizers"] = {name: whole["optimizers"][name] for name in order}
        return whole

    batches = [runs.batch(index, names) for index, names in enumerate(runs.NAMES[:5])]

    def trained(directory, order, **more):
        checkpoint = RunCheckpoint(directory / "checkpoints", "train/fake")
        return runs.train(batches, directory, options(order), callbacks=[checkpoint], **more)

    whole, _ = trained(tmp_path / "whole", BOTH, max_epochs=3)
    trained(tmp_path / "parts", BOTH, max_epochs=1)
    last = tmp_path / "parts/checkpoints/last.ckpt"
    module, trainer = trained(tmp_path / "parts", BOTH[::-1], max_epochs=3, last=last)
    ours, theirs = runs.state_of(module), runs.state_of(whole)
    assert all(same(ours[name], theirs[name]) for name in BOTH)
    assert trainer.global_step == 15


def test_a_checkpoint_of_other_names_is_refused_with_both_lists():
    module = ESPnetLightningModule(runs.Gan(), runs.config())
    with pytest.raises(
        UserError, match="checkpoint has decoder; the configuration has generator, discriminator"
    ):
        module.on_load_checkpoint({"espnet3": {"named": {"decoder": {}}}})
    with pytest.raises(
        UserError, match="checkpoint has none; the configuration has generator, discriminator"
    ):
        module.on_load_checkpoint({"espnet3": {"position": [1, 0]}})
    single = ESPnetLightningModule(runs.Gan(), {"optimizer": runs.ADAM})
    with pytest.raises(UserError, match="checkpoint has generator; the configuration has none"):
        single.on_load_checkpoint({"espnet3": {"named": {"generator": {}}}})


def test_gradients_held_between_updates_survive_validation_and_can_be_read(tmp_path):
    hold_directory = []

    class Read(Callback):
        def on_train_epoch_end(self, trainer, module):
            hold_directory.append(copy.deepcopy(module.named.engine.held_gradients()))

    options = runs.config({"accum_grad_steps": 2})
    module, _ = runs.train(
        [runs.batch(0)], tmp_path, options, valid=[runs.batch(1)], callbacks=[Read()], max_epochs=2
    )
    assert list(hold_directory[0]) == ["generator"] and hold_directory[1] == {}
    assert set(hold_directory[0]["generator"]) == {
        f"generator.{key}" for key, _ in module.model.generator.named_parameters()
    }


def test_16_mixed_has_a_loss_scale_per_optimizer_and_an_overflow_moves_only_that(tmp_path):
    class Overflowing(runs.Gan):
        def forward(self, x, names, **batch):
            steps, stats, weight = super().forward(x, names)
            steps[0] = OptimizationStep(steps[0].loss * (1e36 if batch.get("huge") else 1), steps[0].name)
            return steps, stats, weight

    trace = runs.Trace()
    model = Overflowing()
    dtypes = []
    model.generator[0].register_forward_hook(lambda *a: dtypes.append(a[2].dtype))
    # The first batches bring the scales down to where nothing overflows.
    batches = [*(runs.batch(0) for _ in range(5)), runs.batch(1, ["generator"], huge=True), runs.batch(2)]
    module = runs.training_runs.SweepCommand(model, runs.config(), batches)
    trainer = Trainer(
        accelerator="cpu",
        plugins=[MixedPrecision("16-mixed", "cpu")],
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[trace],
    )
    trainer.fit(module)
    assert set(dtypes) == {torch.float16}
    before, after, end = trace.states[-3:]
    scales = [state["generator"]["own"]["loss_scale"]["scale"] for state in (before, after, end)]
    assert scales[1:] == [scales[0] / 2] * 2
    updates = [state["generator"]["own"]["update_step"] for state in (before, after, end)]
    assert updates == [updates[0], updates[0], updates[0] + 1] and updates[0] > 0
    for key in ("weights", "gradients", "optimizer"):
        assert same(before["generator"][key], after["generator"][key])
    assert same(before["discriminator"], after["discriminator"])
