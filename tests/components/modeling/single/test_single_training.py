"""The single optimizer and its scheduler, as the module hands them to Lightning."""

import pytest
import torch
from omegaconf import OmegaConf

import training_runs as runs
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.optimizers import make_scheduler
from espnet3.errors import UserError

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.1, "betas": [0.5, 0.9]}
STEP = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 10}
PLATEAU = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 2}


def configured(model=None, **config):
    module = ESPnetLightningModule(model or torch.nn.Linear(2, 2), OmegaConf.create(config))
    return module.configure_optimizers()


def test_only_trainable_parameters_get_to_the_optimizer_and_its_options_are_plain():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    model[0].requires_grad_(False)
    made = configured(model, optimizer=ADAM)
    assert made.keys() == {"optimizer"}
    (group,) = made["optimizer"].param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model[1].parameters()]
    assert type(group["betas"]) in (list, tuple)  # a ListConfig fails weights_only


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(AssertionError, match="no trainable parameter"):
        configured(torch.nn.Linear(2, 2).requires_grad_(False), optimizer=ADAM)


def test_an_optimizer_that_evaluates_the_loss_again_is_refused():
    with pytest.raises(AssertionError, match="optimizer: LBFGS evaluates the loss several times"):
        configured(optimizer={"_target_": "torch.optim.LBFGS"})


@pytest.mark.parametrize("target", ["torch.nn.Linear", "builtins.list"])
def test_what_is_no_optimizer_or_scheduler_is_refused(target):
    options = {"in_features": 1, "out_features": 1} if "Linear" in target else {}
    with pytest.raises((AssertionError, UserError), match=r"^optimizer"):
        configured(optimizer={"_target_": target, **options})
    with pytest.raises((AssertionError, UserError), match=r"^scheduler"):
        configured(optimizer=ADAM, scheduler={"_target_": target, **options})


def test_an_option_that_the_optimizer_or_the_scheduler_lacks_is_told_with_the_key():
    with pytest.raises(UserError, match=r"optimizer: .*lrr"):
        configured(optimizer={"_target_": "torch.optim.Adam", "lrr": 1})
    with pytest.raises(UserError, match=r"scheduler: .*size"):
        configured(optimizer=ADAM, scheduler={**STEP, "size": 1})


def test_a_plateau_scheduler_goes_to_lightning_with_interval_and_monitor():
    made = configured(
        optimizer=ADAM, scheduler=PLATEAU, scheduler_interval="epoch", scheduler_monitor="valid/loss"
    )["lr_scheduler"]
    assert isinstance(made.pop("scheduler"), torch.optim.lr_scheduler.ReduceLROnPlateau)
    assert made == {"interval": "epoch", "monitor": "valid/loss"}


def test_a_plateau_scheduler_needs_a_monitor():
    with pytest.raises(AssertionError, match="ReduceLROnPlateau needs `scheduler_monitor`"):
        configured(optimizer=ADAM, scheduler=PLATEAU, scheduler_interval="epoch")


def test_other_schedulers_need_none():
    made = configured(optimizer=ADAM, scheduler=STEP)["lr_scheduler"]
    assert made["interval"] == "step" and "monitor" not in made


def linear_to_zero(optimizer, length):
    """A scheduler of a recipe: a function that takes the training's length."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: 1 - update / length.updates)


@pytest.mark.parametrize(("accumulate", "updates"), [(1, 14), (3, 6)])
def test_a_scheduler_that_takes_length_gets_that_of_this_training(tmp_path, monkeypatch, accumulate, updates):
    monkeypatch.setattr(torch.optim.lr_scheduler, "linear_to_zero", linear_to_zero, raising=False)
    config = {"scheduler": {"_target_": "torch.optim.lr_scheduler.linear_to_zero"}}
    _, trainer = runs.fit(
        [runs.data(index) for index in range(7)],
        tmp_path,
        config=config,
        max_epochs=2,
        accumulate_grad_batches=accumulate,
    )
    assert trainer.global_step == updates, "which is where it reaches zero"
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


LINEAR = {"_target_": "torch.optim.lr_scheduler.LinearLR", "start_factor": 0.5, "total_iters": 2}
EXPONENTIAL = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.9}
SEQUENTIAL = {
    "_target_": "torch.optim.lr_scheduler.SequentialLR",
    "schedulers": [LINEAR, EXPONENTIAL],
    "milestones": [2],
}
CHAINED = {"_target_": "torch.optim.lr_scheduler.ChainedScheduler", "schedulers": [LINEAR, EXPONENTIAL]}


@pytest.mark.parametrize("node", [SEQUENTIAL, CHAINED])
@pytest.mark.parametrize("kind", [dict, OmegaConf.create])
def test_schedulers_inside_of_a_scheduler_get_the_optimizer_too(node, kind):
    def rates(optimizer, scheduler):
        seen = []
        for _ in range(5):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return seen

    parameter = torch.nn.Parameter(torch.ones(()))
    plain = torch.optim.SGD([parameter], lr=1.0)
    inner = [
        torch.optim.lr_scheduler.LinearLR(plain, start_factor=0.5, total_iters=2),
        torch.optim.lr_scheduler.ExponentialLR(plain, gamma=0.9),
    ]
    by_hand = (
        torch.optim.lr_scheduler.SequentialLR(plain, inner, milestones=[2])
        if node is SEQUENTIAL
        else torch.optim.lr_scheduler.ChainedScheduler(inner)
    )
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    assert rates(optimizer, make_scheduler("scheduler", kind(node), optimizer)) == rates(plain, by_hand)


def test_a_mistake_in_a_scheduler_inside_of_a_scheduler_is_told_with_its_key():
    wrong = {**SEQUENTIAL, "schedulers": [LINEAR, {**EXPONENTIAL, "gama": 1}]}
    with pytest.raises(UserError, match=r"^scheduler\.schedulers\[1\]: .*gama"):
        configured(optimizer=ADAM, scheduler=wrong)


class Failing(torch.optim.lr_scheduler.LRScheduler):
    """Fails when it is stepped for the second time, or at once without a message."""

    def __init__(self, optimizer, at_once=False):
        super().__init__(optimizer)
        if at_once:
            raise TypeError

    def get_lr(self):
        return [1.0] if self._step_count < 2 else [None + 1]


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_an_error_of_a_schedulers_own_names_it(tmp_path, monkeypatch, interval):
    monkeypatch.setattr(runs, "Failing", Failing, raising=False)
    config = {"scheduler": {"_target_": "training_runs.Failing"}, "scheduler_interval": interval}
    with pytest.raises(RuntimeError, match=r"^scheduler: Failing\.step\(\): TypeError: unsupported operand"):
        runs.fit([runs.data(0)], tmp_path, config=config)
    named = {"optimizers": {"a": {"optimizer": ADAM, "params": "*"}}}
    named["schedulers"] = {"a": {"scheduler": config["scheduler"], "interval": interval}}
    module = ESPnetLightningModule(torch.nn.Linear(2, 2), named)
    module.configure_optimizers()
    schedule = module.named.engine["a"].schedule
    with pytest.raises(RuntimeError, match=r"^schedulers\.a\.scheduler: Failing\.step\(\): TypeError"):
        schedule.after_update() if interval == "step" else schedule.after_epoch(lambda *_: None)
    with pytest.raises(UserError, match=r"^scheduler: TypeError$"):
        configured(optimizer=ADAM, scheduler={**config["scheduler"], "at_once": True})
