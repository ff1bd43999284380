"""What an optimizer trains may change: groups are added, parameters are frozen and released."""

import pytest
import torch
from lightning.pytorch.callbacks import BaseFinetuning, Callback

import named_runs as runs
import training_runs
from engine_cases import Gan, make_engine, run
from espnet3.errors import UserError
from training_runs import same


class Finetuning(BaseFinetuning):
    """Lightning's own: a part of the model is frozen first, and added as a group in the second epoch."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def freeze_before_training(self, module):
        self.freeze(self.part(module.model))

    def finetune_function(self, module, epoch, optimizer):
        of_generator = module.named is None or optimizer is module.named.engine["generator"].optimizer
        if epoch == 1 and of_generator:
            self.unfreeze_and_add_param_group(self.part(module.model), optimizer, lr=0.01, initial_denom_lr=1)


class Weights(Callback):
    """The weights after each epoch."""

    def __init__(self):
        self.epochs = []

    def on_train_epoch_end(self, trainer, module):
        self.epochs.append({key: value.clone() for key, value in module.state_dict().items()})


def test_a_group_that_a_callback_adds_is_trained_by_a_named_optimizer(tmp_path):
    weights = Weights()
    callbacks = [Finetuning(lambda model: model.generator[3]), weights]
    module, _ = runs.train([runs.batch(0), runs.batch(1)], tmp_path, callbacks=callbacks, max_epochs=2)
    frozen, released = [epoch["generator.3.weight"] for epoch in weights.epochs]
    assert same(frozen, runs.Gan().generator[3].weight.data)
    assert not same(frozen, released)
    assert "generator.3.weight" in module.named.engine["generator"].parameter_names


def test_a_parameter_given_to_an_optimizer_that_another_trains_is_refused_by_name():
    model = Gan()
    engine = make_engine(model)
    engine["generator"].optimizer.add_param_group({"params": list(model.discriminator[0].parameters())})
    with pytest.raises(
        UserError, match=r"'generator' was given discriminator\.0\.bias, discriminator\.0\.weight, which"
    ):
        run(engine, model, ["generator"], 0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_parameters_frozen_midway_rest_and_those_released_go_on(accumulate):
    model = Gan()
    engine = make_engine(model, generator={"accum_grad_steps": accumulate})
    layer = model.generator[0]

    def trained():
        before = layer.weight.detach().clone(), model.generator[2].weight.detach().clone()
        for index in range(accumulate):
            run(engine, model, ["generator", "discriminator"], index)
        return not same(before[0], layer.weight.data), not same(before[1], model.generator[2].weight.data)

    assert trained() == (True, True)
    layer.requires_grad_(False)
    assert trained() == (False, True)
    layer.requires_grad_(True)
    assert trained() == (True, True)


def test_as_many_may_be_frozen_as_are_released():
    model = Gan()
    model.generator[2].requires_grad_(False)
    engine = make_engine(model, generator={"params": "generator.0"})
    engine["generator"].optimizer.add_param_group({"params": list(model.generator[2].parameters())})
    run(engine, model, ["generator"], 0)
    before = [p.detach().clone() for p in model.generator.parameters()]
    model.generator[0].requires_grad_(False)
    model.generator[2].requires_grad_(True)
    run(engine, model, ["generator"], 1)
    after = [p.detach() for p in model.generator.parameters()]
    assert [same(one, other) for one, other in zip(before, after, strict=True)] == [True, True, False, False]


def test_an_optimizer_that_is_frozen_as_a_whole_rests():
    model = Gan()
    engine = make_engine(model)
    model.generator.requires_grad_(False)
    before = [p.clone() for p in model.generator.parameters()]
    run(engine, model, ["generator", "discriminator"], 0)
    assert same(before, list(model.generator.parameters()))


class Checkpointed(Gan):
    """The generator's inner layers are recomputed during the backward pass."""

    reentrant = True

    def losses(self, index):
        x = torch.sin(torch.arange(24.0).reshape(6, 4) * (1 + index))
        if self.reentrant:
            x.requires_grad_()
        fake = torch.utils.checkpoint.checkpoint(self.generator, x, use_reentrant=self.reentrant)
        return {
            "generator": (fake - x.detach()).square().mean(),
            "discriminator": self.discriminator(x).mean(),
        }


def test_reentrant_checkpointing_is_refused_with_the_parameters_that_would_get_no_gradient():
    model = Checkpointed()
    with pytest.raises(
        UserError, match=r"'generator' would not train generator\.0\.weight, .*use_reentrant=False"
    ):
        run(make_engine(model), model, ["generator"], 0)


def test_checkpointing_that_is_not_reentrant_trains():
    model, plain = Checkpointed(), Checkpointed()
    model.reentrant = False
    plain.losses = lambda index: Gan.losses(plain, index)
    before = [p.detach().clone() for p in model.generator.parameters()]
    run(make_engine(model), model, ["generator", "discriminator"], 0)
    assert not any(map(same, before, [p.detach() for p in model.generator.parameters()]))


def test_parameters_without_influence_on_the_first_loss_are_told_once(caplog):
    model = Gan()
    engine = make_engine(model)
    model.losses = lambda index: {"generator": model.generator[0](torch.ones(1, 4)).mean()}
    run(engine, model, ["generator"], 0)
    run(engine, model, ["generator"], 1)
    (record,) = caplog.records
    assert record.getMessage() == (
        "optimizer generator: generator.2.weight, generator.2.bias have no influence on its first loss"
    )


def test_the_single_optimizer_trains_a_group_that_a_callback_adds(tmp_path):
    class Deep(training_runs.Linear):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3, 3)

        def forward(self, x, **data):
            return super().forward(self.first(x), **data)

    weights, model = Weights(), Deep()
    callbacks = [Finetuning(lambda model: model.first), weights]
    batches = [training_runs.data(index) for index in range(2)]
    training_runs.fit(batches, tmp_path, model=model, callbacks=callbacks, max_epochs=2)
    assert not same(weights.epochs[0]["first.weight"], weights.epochs[1]["first.weight"])
