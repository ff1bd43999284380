"""`optimizers` and `schedulers` are checked when they are read, and the message says what was given."""

import re

import pytest
from omegaconf import OmegaConf

from espnet3.config.checks.named_optimizers import read_named_config

SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}
STEP_LR = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1}


def _config(optimizer=None, scheduler=None, **more):
    config = {
        "optimizers": {
            "g": {"optimizer": SGD, "params": "g", **(optimizer or {})},
            "d": {"optimizer": SGD, "params": ["d", "*.bias"]},
        },
        **more,
    }
    if scheduler is not None:
        config["schedulers"] = {"d": {"scheduler": STEP_LR}, "g": {"scheduler": STEP_LR, **scheduler}}
    return config


@pytest.mark.parametrize("make", [OmegaConf.create, dict], ids=["DictConfig", "dict"])
def test_what_is_not_given_has_its_default(make):
    config = read_named_config(make(_config(scheduler={})))
    assert list(config.optimizers) == ["g", "d"]
    g, d = config.optimizers["g"], config.optimizers["d"]
    assert (g.params, d.params) == (("g",), ("d", "*.bias"))
    assert (g.accum_grad_steps, g.step_every_n_iters) == (1, 1)
    assert (g.gradient_clip_val, g.gradient_clip_algorithm) == (None, "norm")
    assert (config.schedulers["g"].interval, config.schedulers["g"].monitor) == ("epoch", None)
    assert list(config.schedulers) == ["g", "d"], "paired by name, whatever the order in the file"


def test_schedulers_may_be_left_out():
    assert read_named_config(_config()).schedulers == {}
    assert read_named_config(_config(schedulers=None)).schedulers == {}


def test_a_null_value_is_as_not_given():
    config = read_named_config(
        _config({"accum_grad_steps": None, "gradient_clip_val": None, "gradient_clip_algorithm": None})
    )
    assert config.optimizers["g"].accum_grad_steps == 1
    assert config.optimizers["g"].gradient_clip_algorithm == "norm"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"accum_grad_steps": 0}, "optimizers.g.accum_grad_steps must be a whole number of at least 1"),
        ({"accum_grad_steps": 1.5}, "given: 1.5"),
        ({"accum_grad_steps": True}, "given: True"),
        ({"step_every_n_iters": -2}, "optimizers.g.step_every_n_iters must be a whole number of at least 1"),
        ({"gradient_clip_val": 0}, "optimizers.g.gradient_clip_val must be a positive number"),
        ({"gradient_clip_val": "1"}, "given: '1'"),
        ({"gradient_clip_algorithm": "l2"}, "must be norm or value, given: 'l2'"),
        ({"params": None}, "optimizers.g.params must be"),
        ({"params": []}, "given: []"),
        ({"params": [""]}, "given: ['']"),
        ({"params": 3}, "given: 3"),
        ({"optimizer": None}, "optimizers.g.optimizer must be {_target_"),
        ({"optimizer": {"lr": 1}}, "given: {'lr': 1}"),
        (
            {"acum_grad_steps": 2},
            "no key acum_grad_steps; did you mean optimizers.g.accum_grad_steps?",
        ),
    ],
)
def test_a_wrong_value_of_an_optimizer_is_refused(entry, message):
    with pytest.raises(AssertionError, match=re.escape(message)):
        read_named_config(_config(entry))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"interval": "batch"}, "schedulers.g.interval must be step or epoch, given: 'batch'"),
        ({"interval": "step", "monitor": "valid/loss"}, "schedulers.g.monitor is only for interval epoch"),
        ({"monitor": "g/loss"}, "schedulers.g.monitor must be a logged metric"),
        ({"scheduler": None}, "schedulers.g.scheduler must be {_target_"),
        ({"frequency": 2}, "schedulers.g has no key frequency; known are scheduler, interval, monitor"),
    ],
)
def test_a_wrong_value_of_a_scheduler_is_refused(entry, message):
    with pytest.raises(AssertionError, match=re.escape(message)):
        read_named_config(_config(scheduler=entry))


def test_names_of_optimizers_and_schedulers_must_be_the_same():
    config = _config(schedulers={"g": {"scheduler": STEP_LR}, "decoder": {"scheduler": STEP_LR}})
    with pytest.raises(AssertionError, match=r"optimizers are g, d; schedulers are g, decoder"):
        read_named_config(config)
    with pytest.raises(AssertionError, match=r"optimizers are g, d; schedulers are none"):
        read_named_config(_config(schedulers={}))


@pytest.mark.parametrize("key", ["optimizer", "scheduler", "scheduler_interval", "scheduler_monitor"])
def test_keys_of_the_single_optimizer_path_are_refused(key):
    with pytest.raises(AssertionError, match=f"^{key} cannot be given together with named"):
        read_named_config({**_config(), key: "epoch"})


@pytest.mark.parametrize("given", [{}, None, [], "g", {1: {}}, {"g": None}])
def test_optimizers_must_be_a_mapping_of_names(given):
    with pytest.raises(AssertionError, match=r"optimizers"):
        read_named_config({"optimizers": given})
