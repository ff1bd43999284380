"""Hooks of Lightning around backward passes and updates, of callbacks and of the module."""

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.utilities import grad_norm

import named_runs as runs
import training_runs
from espnet3.components.trainers import lightning_internals

HOOKS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_before_zero_grad")


class Called(Callback):
    """Which hooks were called, in order."""

    def __init__(self):
        self.calls = []

    def on_before_backward(self, trainer, module, loss):
        self.calls.append(("before", float(loss)))

    def on_after_backward(self, trainer, module):
        self.calls.append(("after", module.model.generator[0].weight.grad is not None))

    def on_before_optimizer_step(self, trainer, module, optimizer):
        names = {id(named.optimizer): named.name for named in module.named.engine.values()}
        self.calls.append(("step", names[id(optimizer)]))

    def on_train_batch_end(self, *_):
        self.calls.append("batch")


def test_named_optimizers_call_them_around_each_backward_pass_and_update(tmp_path):
    called = Called()
    options = runs.config({"accum_grad_steps": 2}, {"step_every_n_iters": 2})
    losses = runs.Gan().losses(runs.batch(0)[1]["x"])
    batches = [runs.batch(0), runs.batch(1, bad=True), runs.batch(2, BOTH_REVERSED)]
    runs.train(batches, tmp_path, options, callbacks=[called])
    first, skipped, second = _by_batch(called.calls)
    assert first == [("before", pytest.approx(float(losses["generator"]))), ("after", True)]
    assert skipped == []
    assert [call[0] for call in second] == ["before", "after", "before", "after", "step", "step"]
    assert [call[1] for call in second if call[0] == "step"] == ["generator", "discriminator"]


BOTH_REVERSED = runs.BOTH[::-1]


def _by_batch(calls):
    batches = [[]]
    for call in calls:
        if call == "batch":
            batches.append([])
        else:
            batches[-1].append(call)
    return batches[:-1]


class LoggedNorm(training_runs.SweepCommand):
    """As Lightning's documentation logs gradient norms."""

    def on_before_optimizer_step(self, optimizer):
        self.log_dict(grad_norm(self.model, norm_type=2))


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_a_norm_logged_by_the_module_is_that_before_clipping(clip):
    generator = {} if clip is None else {"gradient_clip_val": clip}
    module = LoggedNorm(runs.Gan(), runs.config(generator), [runs.batch(0, ["generator"])])
    trainer = lightning_trainer()
    trainer.fit(module)
    plain = runs.Gan()
    plain.losses(runs.batch(0)[1]["x"])["generator"].backward(inputs=list(plain.generator.parameters()))
    expected = float(plain.generator[0].weight.grad.norm())
    logged = trainer.callback_metrics["grad_2.0_norm/generator.0.weight"]
    assert float(logged) == pytest.approx(expected, abs=1e-4)


def test_gradients_that_a_callback_changes_are_those_of_the_update(tmp_path):
    class Zero(Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            for parameter in module.model.generator.parameters():
                parameter.grad = None

    model = runs.Gan()
    before = [parameter.clone() for parameter in model.generator.parameters()]
    runs.train([runs.batch(0)], tmp_path, model=model, callbacks=[Zero()])
    assert training_runs.same(before, list(model.generator.parameters()))


def test_what_nobody_overrides_is_not_called(tmp_path, monkeypatch):
    def forbidden(trainer, name, *_):
        assert name not in HOOKS

    monkeypatch.setattr(lightning_internals, "_call_callback_hooks", forbidden)
    module, _ = runs.train([runs.batch(0)], tmp_path)
    assert set(vars(module.named.engine._hooks).values()) == {None}


def test_a_user_may_override_the_hook_before_the_update_in_the_single_path(tmp_path):
    """The mean over an accumulation with a skipped batch does not depend on it."""

    class Own(training_runs.SweepCommand):
        def on_before_optimizer_step(self, optimizer):
            norms.append(float(self.model.linear.weight.grad.norm()))

    norms = []
    batches = [training_runs.data(0), training_runs.data(1, bad=True), training_runs.data(2)]
    weights = []
    for kind in (Own, training_runs.SweepCommand):
        module = kind(training_runs.Linear(), {"optimizer": training_runs.SGD}, batches)
        lightning_trainer(accumulate_grad_batches=3).fit(module)
        weights.append(dict(module.state_dict()))
    assert training_runs.same(*weights)
    plain = training_runs.Linear()
    sum(plain(**training_runs.data(index)[1])[0] / 2 for index in (0, 2)).backward()
    assert norms == [pytest.approx(float(plain.linear.weight.grad.norm()))]


def lightning_trainer(**options):
    from lightning.pytorch import Trainer

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, **quiet, **options)
