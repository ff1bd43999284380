"""Which optimizers a configuration asks for, checked as plain data."""

import pytest
from omegaconf import OmegaConf

from espnet3.config.checks.optimizers import check_optimizers, is_named, read_single_config
from espnet3.errors import UserError

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.1, "betas": [0.5, 0.9]}
STEP = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 10}
PLATEAU = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}


@pytest.mark.parametrize("make", [dict, OmegaConf.create])
def test_a_scheduler_may_be_left_out_and_its_interval_is_step(make):
    config = read_single_config(make({"optimizer": ADAM}))
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
        is_named(given)


@pytest.mark.parametrize("given", [{}, {"optimizer": None}, {"scheduler": STEP}, {"schedulers": {"g": STEP}}])
def test_without_any_optimizer_it_is_a_value_error(given):
    with pytest.raises(ValueError, match="give `optimizer` or `optimizers`"):
        is_named(given)


def test_an_unknown_interval_is_refused():
    with pytest.raises(AssertionError, match="step or epoch, given: 'batch'"):
        read_single_config({"optimizer": ADAM, "scheduler_interval": "batch"})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"optimizer": ADAM, "scheduler_interval": "batch"}, "scheduler_interval must be step or epoch"),
        ({"optimizers": {"g": {"optimizer": ADAM}}}, r"optimizers\.g\.params must be"),
        ({"optimizers": {"g": {"optimizer": ADAM, "params": "g"}}, "clip": 1.0}, "trainer.gradient_clip_val"),
        (
            {"optimizer": ADAM, "scheduler": PLATEAU, "scheduler_interval": "epoch"},
            "needs `scheduler_monitor`",
        ),
        (
            {"optimizer": ADAM, "scheduler": PLATEAU, "scheduler_monitor": "valid/loss"},
            "scheduler_monitor=valid/loss is new once per epoch: give scheduler_interval: epoch",
        ),
        ({"scheduler": STEP}, "give `optimizer` or `optimizers`"),
    ],
)
def test_a_mistake_is_the_users_in_one_line(config, message):
    config = OmegaConf.create({"trainer": {"gradient_clip_val": config.pop("clip", None)}, **config})
    with pytest.raises(UserError, match=message) as caught:
        check_optimizers(config)
    assert "\n" not in str(caught.value)
