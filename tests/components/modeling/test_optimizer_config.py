import pytest
import torch
from omegaconf import OmegaConf

from espnet3.components.modeling.optimizer_config import (
    make_optimizer,
    make_scheduler,
    read_optimizer_config,
)
from espnet3.errors import UserError

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.1, "betas": [0.5, 0.9]}
STEP = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 10}
PLATEAU = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 2}


@pytest.mark.parametrize("make", [dict, OmegaConf.create])
def test_a_scheduler_may_be_left_out_and_its_interval_is_step(make):
    config = read_optimizer_config(make({"optimizer": ADAM}))
    assert config.scheduler is None and config.interval == "step" and config.monitor is None


@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": ADAM, "optimizers": {"g": ADAM}},
        {"optimizer": ADAM, "schedulers": {"g": STEP}},
        {"scheduler": STEP, "optimizers": {"g": ADAM}},
    ],
)
def test_single_and_named_keys_exclude_each_other(given):
    with pytest.raises(AssertionError, match=f"given: {', '.join(given)}"):
        read_optimizer_config(given)


@pytest.mark.parametrize("given", [{}, {"optimizer": None}, {"scheduler": STEP}])
def test_without_any_optimizer_it_is_a_value_error(given):
    with pytest.raises(ValueError, match="give `optimizer` or `optimizers`"):
        read_optimizer_config(given)


def test_an_unknown_interval_is_refused():
    with pytest.raises(AssertionError, match="step or epoch, given: 'batch'"):
        read_optimizer_config({"optimizer": ADAM, "scheduler_interval": "batch"})


def test_only_trainable_parameters_get_to_the_optimizer_and_its_options_are_plain():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    model[0].requires_grad_(False)
    optimizer = make_optimizer(
        read_optimizer_config(OmegaConf.create({"optimizer": ADAM})), model.parameters()
    )
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model[1].parameters()]
    assert type(optimizer.param_groups[0]["betas"]) in (list, tuple)  # a ListConfig fails weights_only


def test_a_model_without_trainable_parameters_is_refused():
    model = torch.nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(AssertionError, match="no trainable parameter"):
        make_optimizer(read_optimizer_config({"optimizer": ADAM}), model.parameters())


def test_an_optimizer_that_evaluates_the_loss_again_is_refused():
    config = read_optimizer_config({"optimizer": {"_target_": "torch.optim.LBFGS"}})
    with pytest.raises(AssertionError, match="LBFGS evaluates the loss several times"):
        make_optimizer(config, torch.nn.Linear(2, 2).parameters())


def test_an_option_that_the_optimizer_lacks_is_told_with_the_key():
    config = read_optimizer_config({"optimizer": {"_target_": "torch.optim.Adam", "lrr": 1}})
    with pytest.raises(UserError, match=r"optimizer: .*lrr"):
        make_optimizer(config, torch.nn.Linear(2, 2).parameters())


def make(given):
    config = read_optimizer_config({"optimizer": ADAM, **given})
    return make_scheduler(config, make_optimizer(config, torch.nn.Linear(2, 2).parameters()))


def test_a_plateau_scheduler_goes_to_lightning_with_interval_and_monitor():
    made = make({"scheduler": PLATEAU, "scheduler_interval": "epoch", "scheduler_monitor": "valid/loss"})
    assert isinstance(made.pop("scheduler"), torch.optim.lr_scheduler.ReduceLROnPlateau)
    assert made == {"interval": "epoch", "monitor": "valid/loss"}


def test_a_plateau_scheduler_needs_a_monitor():
    with pytest.raises(AssertionError, match="ReduceLROnPlateau needs `scheduler_monitor`"):
        make({"scheduler": PLATEAU, "scheduler_interval": "epoch"})


def test_other_schedulers_need_none():
    made = make({"scheduler": STEP})
    assert made["interval"] == "step" and "monitor" not in made
