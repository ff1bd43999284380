"""A model's loss names optimizers; anything else is refused with what was given."""

import re

import pytest
import torch

from espnet3.components.modeling.named.routing import Router, read_steps
from espnet3.components.modeling.optimization_spec import OptimizationStep

NAMES = ["generator", "discriminator"]


def _step(name, value=1.0):
    return OptimizationStep(torch.tensor(value, requires_grad=True), name)


def test_one_step_or_a_list_in_any_order_is_taken_as_it_is():
    g, d = _step("generator"), _step("discriminator")
    assert read_steps(g, NAMES) == [g]
    assert read_steps([d, g], NAMES) == [d, g]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (torch.tensor(1.0), "must be an OptimizationStep or a list of them, given: Tensor of shape ()"),
        (None, "given: NoneType None"),
        ({"generator": torch.tensor(1.0)}, "given: dict"),
        ((_step("generator"),), "given: tuple"),
        ([], "the list of OptimizationSteps is empty"),
        ([_step("generator"), torch.ones(2)], "given one that holds: Tensor of shape (2,)"),
        (_step("decoder"), "there is no optimizer 'decoder'; known are generator, discriminator"),
        (
            [_step("generator"), _step("discriminator"), _step("generator")],
            "'generator' is named twice in one batch, given: generator, discriminator, generator",
        ),
    ],
)
def test_anything_else_is_refused(loss, message):
    with pytest.raises(AssertionError, match=re.escape(message)):
        read_steps(loss, NAMES)


def _route(steps, **flags):
    return Router(NAMES).route(lambda: steps, flags, device=torch.device("cpu"), world_size=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 1])
def test_nan_or_inf_in_any_loss_is_seen(value, place):
    steps = [_step("generator"), _step("discriminator")]
    assert not _route(steps).nonfinite
    steps[place] = _step(steps[place].name, value)
    assert _route(steps).nonfinite


def test_large_finite_losses_are_finite_together():
    assert not _route([_step("generator", 3e38), _step("discriminator", 3e38)]).nonfinite


def test_flags_come_back():
    assert _route([_step("generator")], stop=True, due=7).flags == {"stop": 1, "due": 7}


def test_a_loss_without_graph_is_refused():
    with pytest.raises(AssertionError, match="loss of optimizer 'generator' has no graph"):
        _route([OptimizationStep(torch.tensor(1.0), "generator")])
