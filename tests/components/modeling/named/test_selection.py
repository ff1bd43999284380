"""Every trainable parameter belongs to exactly one optimizer, by segments of its name or by a glob."""

import pytest
import torch

from espnet3.components.modeling.named.selection import (
    matches,
    parameters_by_optimizer,
    select_parameters,
)


@pytest.mark.parametrize(
    ("selector", "name", "taken"),
    [
        ("generator", "generator.conv.weight", True),
        ("generator", "tts.generator.conv.weight", True),
        ("generator", "generator2.weight", False),
        ("generator", "my_generator.weight", False),
        ("tts.generator", "model.tts.generator.conv.weight", True),
        ("tts.generator", "tts.flow.generator.conv.weight", False),
        ("weight", "generator.conv.weight", True),
        ("*.bias", "generator.conv.bias", True),
        ("*.bias", "bias", False),
        ("*.bias", "generator.bias.weight", False),
        ("layers.[01].*", "layers.1.weight", True),
        ("layers.?.weight", "layers.10.weight", False),
        ("generator.*", "tts.generator.conv.weight", False),
    ],
)
def test_a_selector_takes_whole_segments_in_a_row_or_a_glob(selector, name, taken):
    assert matches(selector, name) is taken


def _names(*names):
    return [(name,) for name in names]


def test_parameters_go_to_their_optimizer_in_the_order_of_the_model():
    chosen = select_parameters(
        _names("d.weight", "tts.g.weight", "d.bias", "tts.g.bias", "extra"),
        {"generator": ["tts.g", "extra"], "discriminator": ["d"]},
    )
    assert chosen == {
        "generator": ["tts.g.weight", "tts.g.bias", "extra"],
        "discriminator": ["d.weight", "d.bias"],
    }


def test_parameters_without_optimizer_are_all_listed():
    with pytest.raises(AssertionError, match=r"no optimizer covers: b\.weight, c\.bias$"):
        select_parameters(_names("a.weight", "b.weight", "c.bias"), {"x": ["a"]})


def test_parameters_with_two_optimizers_are_all_listed_with_both():
    with pytest.raises(AssertionError, match=r"cover: a\.bias \(x, y\), b\.bias \(y, z\)"):
        select_parameters(
            _names("a.weight", "a.bias", "b.weight", "b.bias"), {"x": ["a"], "y": ["*.bias"], "z": ["b"]}
        )


def test_selectors_that_match_nothing_are_all_listed():
    with pytest.raises(AssertionError) as error:
        select_parameters(_names("a.weight"), {"x": ["a", "gone"], "y": ["*.wight"]})
    assert "optimizers.x.params: 'gone' matches no parameter" in str(error.value)
    assert "optimizers.y.params: '*.wight' matches no parameter" in str(error.value)
    assert "the model has: a.weight" in str(error.value)


def test_frozen_parameters_need_no_optimizer_but_an_optimizer_needs_something_to_train():
    chosen = select_parameters(_names("a.weight"), {"x": ["a", "frozen"]}, ["frozen.weight"])
    assert chosen == {"x": ["a.weight"]}
    with pytest.raises(AssertionError, match=r"optimizers\.y\.params: 'frozen' selects nothing that is"):
        select_parameters(_names("a.weight"), {"x": ["a"], "y": ["frozen"]}, ["frozen.weight"])


def test_a_parameter_that_two_modules_share_counts_under_both_names():
    model = torch.nn.ModuleDict({"g": torch.nn.Linear(2, 2), "d": torch.nn.Linear(2, 2)})
    model["d"].weight = model["g"].weight
    with pytest.raises(AssertionError, match=r"g\.weight, which is also d\.weight \(g, d\)"):
        parameters_by_optimizer(model, {"g": ["g"], "d": ["d"]})
    taken = parameters_by_optimizer(model, {"all": ["g", "d"]})["all"]
    assert list(taken) == ["g.weight", "g.bias", "d.bias"]
    assert taken["g.weight"] is model["d"].weight
