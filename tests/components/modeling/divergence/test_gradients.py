"""Gradients of NaN or Inf make no update: with a single optimizer, and with named ones."""

import pytest
import torch

import named_runs
import training_runs as runs
from espnet3.components.checkpoint.ranking import read_ranking
from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint
from espnet3.errors import Diverged
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task

BOTH = named_runs.BOTH
STEP = {"scheduler": runs.STEP_LR, "interval": "step"}


def batches(*sick, count=4, bad=()):
    return [runs.data(index, bad=index in bad, sick_batch=index in sick) for index in range(count)]


class Opposite(runs.Linear):
    """The gradient of one parameter is Inf, that of another -Inf, in a batch with `sick_batch`."""

    def forward(self, x, y, sick_batch=False, **_):
        loss, stats, weight = super().forward(x, y)
        if sick_batch:
            one, other = self.linear.weight, self.linear.bias
            nothing = (one - one.detach()).sum() - (other - other.detach()).sum()
            loss = loss + nothing * 1e30 * 1e30
        return loss, stats, weight


CLIPPING = [
    {},
    {"gradient_clip_val": 0.5},
    {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
]


@pytest.mark.parametrize("options", [*CLIPPING, {"precision": "bf16-mixed"}])
def test_a_single_optimizer_moves_nothing_and_goes_on_as_if_the_batch_had_not_been(tmp_path, caplog, options):
    config = {"scheduler": runs.STEP_LR}
    states = runs.traced(batches(1), tmp_path, model=runs.Sick(), config=config, **options)
    without = runs.traced(
        [batch for index, batch in enumerate(batches()) if index != 1],
        tmp_path, model=runs.Sick(), config=config, **options,
    )  # fmt: skip
    for part in ("weights", "optimizer", "schedulers"):
        assert runs.same(states[0][part], states[1][part]), part
        assert runs.same(states[-1][part], without[-1][part]), part
    assert "epoch 1, batch 2: the gradients are NaN or Inf (linear.weight, linear.bias)" in caplog.text


def test_infinities_of_both_signs_make_no_update(tmp_path, caplog):
    states = runs.traced(batches(1), tmp_path, model=Opposite())
    assert runs.same(states[0]["weights"], states[1]["weights"])
    assert not runs.same(states[1]["weights"], states[2]["weights"])
    assert "epoch 1, batch 2: the gradients are NaN or Inf (linear.weight, linear.bias)" in caplog.text


def test_what_was_accumulated_with_them_is_dropped(tmp_path):
    sick = runs.traced(batches(1), tmp_path, model=runs.Sick(), accumulate_grad_batches=2)
    without = runs.traced(batches()[2:], tmp_path, model=runs.Sick(), accumulate_grad_batches=2)
    assert runs.same(sick[-1]["weights"], without[-1]["weights"])


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_a_named_optimizer_moves_nothing_and_the_others_move(tmp_path, accumulate, clip):
    options = {"accum_grad_steps": accumulate, "gradient_clip_val": clip}
    configuration = named_runs.config(options, schedulers={"generator": STEP, "discriminator": STEP})
    train = [named_runs.batch(index, sick_names=["generator"] if index == 3 else []) for index in range(6)]
    trace = named_runs.Trace()
    module, trainer = named_runs.train(train, tmp_path, configuration, trace=trace)
    before, after = trace.states[3 - accumulate], trace.states[3]
    assert runs.same(before["generator"]["weights"], after["generator"]["weights"])
    assert runs.same(before["generator"]["optimizer"], after["generator"]["optimizer"])
    assert runs.same(before["generator"]["scheduler"], after["generator"]["scheduler"])
    assert after["generator"]["own"]["update_step"] == before["generator"]["own"]["update_step"]
    assert after["generator"]["own"]["accum_counter"] == 0
    assert not module.named.engine["generator"].held_gradients()
    assert not runs.same(before["discriminator"]["weights"], after["discriminator"]["weights"])
    assert not runs.same(trace.states[-1]["generator"]["weights"], after["generator"]["weights"])
    assert trainer.callback_metrics["train/generator/nonfinite_gradients"] == 1
    assert "train/discriminator/nonfinite_gradients" not in trainer.callback_metrics


def test_skipped_updates_are_counted_for_each_epoch_in_one_line(tmp_path, caplog):
    _, trainer = runs.fit(batches(0, 2, 3), tmp_path, model=runs.Sick(), max_epochs=2)
    assert trainer.callback_metrics["train/nonfinite_gradients"] == 3
    lines = [record.getMessage() for record in caplog.records if "NaN or Inf" in record.getMessage()]
    assert [line for line in lines if line.startswith("epoch 1, batch")] == [lines[0]]
    assert lines[1] == "epoch 1: 3 of 4 updates were skipped, whose gradients are NaN or Inf"
    assert len(lines) == 4


def test_an_error_can_be_asked_for(tmp_path):
    with pytest.raises(Diverged, match=r"^diverged at epoch 1, batch 2: .* trainer\.nonfinite_gradients"):
        runs.fit(batches(1), tmp_path, model=runs.Sick(), nonfinite_gradients="error")
    with pytest.raises(Diverged, match="the gradients of generator are NaN"):
        sick = [named_runs.batch(0, sick_names=["generator"])]
        named_runs.train(sick, tmp_path, nonfinite_gradients="error")


@pytest.mark.parametrize("named", [False, True])
def test_weights_that_are_not_finite_fail_and_leave_no_checkpoint(tmp_path, named):
    """Gradients are ignored in the second epoch: only checkpoints of the first are there, and ranked."""

    class Later(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.calls = model, 0

        def forward(self, **batch):
            self.calls += self.training
            sick = {"sick_names": ["generator"]} if named else {"sick_batch": True}
            return self.model(**{**batch, **(sick if self.calls > 5 else {})})

    checkpoints = RunCheckpoint(tmp_path, "valid/loss" if not named else "valid/fake", every_n_batches=2)
    options = {"callbacks": [checkpoints], "max_epochs": 3, "nonfinite_gradients": "ignore"}
    with pytest.raises(Diverged, match=r"^diverged at epoch 2, batch 2: weights are NaN or Inf \("):
        if named:
            train = [named_runs.batch(index) for index in range(4)]
            named_runs.train(train, tmp_path, model=Later(named_runs.Gan()), valid=train[:1], **options)
        else:
            runs.fit(batches(), tmp_path, model=Later(runs.Sick()), valid=batches()[:1], **options)
    written = [torch.load(path, weights_only=True) for path in tmp_path.glob("*.ckpt")]
    assert written and max(checkpoint["espnet3"]["position"] for checkpoint in written) == [1, 0]
    assert [entry.epoch for entry in read_ranking(tmp_path).best] == [1]


def test_an_epoch_without_an_accepted_update_fails(tmp_path):
    with pytest.raises(Diverged, match="batch 2: of the updates from there on none had finite gradients"):
        runs.fit(batches(1, 3, bad=(0, 2)), tmp_path, model=runs.Sick())
    with pytest.raises(Diverged, match="epoch 1, batch 1: no batch from there on had"):
        runs.fit(batches(bad=range(4)), tmp_path, model=runs.Sick())
    with pytest.raises(Diverged, match="of the updates of generator from there on none"):
        named_runs.train([named_runs.batch(0, sick_names=["generator"])] * 3, tmp_path)


def test_an_epoch_that_ends_inside_an_accumulation_has_not_diverged(tmp_path):
    configuration = named_runs.config({"accum_grad_steps": 2})
    train = [named_runs.batch(0, sick_names=["generator"]), named_runs.batch(1), named_runs.batch(2)]
    module, _ = named_runs.train(train, tmp_path, configuration, max_epochs=2)
    assert module.named.engine["generator"].counters.update_step == 1  # of the two last batches


def test_a_row_goes_on_in_a_resumed_training(tmp_path):
    class Stop(runs.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if batch_idx == 60:
                task.stop.set("asked")

    def run(**options):
        checkpoints = RunCheckpoint(tmp_path, "train/loss")
        train = batches(*range(1, 110), count=120)
        runs.fit(train, tmp_path, model=runs.Sick(), callbacks=[checkpoints, Stop()], task=task, **options)

    task = Task.single("train")
    with pytest.raises(Stopped):
        run()
    task = Task.single("train")
    with pytest.raises(Diverged, match="diverged at epoch 1, batch 2: 101 updates in a row"):
        run(last=tmp_path / "last.ckpt")


def test_gradients_whose_norm_overflows_are_finite(tmp_path):
    class Steep(runs.Linear):
        def forward(self, x, y, **_):
            return super().forward(x, y)[0] * 1e25, {}, None

    sgd = {**runs.SGD, "lr": 1e-25}
    model = Steep()
    before = model.linear.weight.clone()
    runs.fit(batches(), tmp_path, model=model, config={"optimizer": sgd})
    assert not torch.equal(model.linear.weight, before)


def test_sparse_gradients_are_checked_held_and_restored_as_others(tmp_path, caplog):
    configuration = named_runs.config({"optimizer": named_runs.SGD, "accum_grad_steps": 2})
    train = [named_runs.batch(index, sick_names=["generator"] if index == 1 else []) for index in range(5)]
    module, _ = named_runs.train(train, tmp_path, configuration, model=named_runs.Sparse())
    assert "epoch 1, batch 2: the gradients of generator are NaN or Inf (generator.table, " in caplog.text
    engine = module.named.engine
    assert engine["generator"].counters.update_step == 1
    held = engine.held_gradients()
    assert held["generator"]["generator.table"].is_sparse
    before = {name: gradient.clone() for name, gradient in held["generator"].items()}
    engine.set_held_gradients(held)
    after = engine.held_gradients()["generator"]
    assert all(runs.same(after[name].to_dense(), before[name].to_dense()) for name in before)
    assert after["generator.table"].is_sparse
