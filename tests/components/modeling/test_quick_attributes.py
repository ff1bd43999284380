"""Attributes of the module are what they are with torch alone."""

import pytest
import torch
from lightning.pytorch import LightningModule

from espnet3.components.modeling.quick_attributes import QuickAttributes

CHANGES = {
    "a plain one": lambda module: setattr(module, "plain", None),
    "a new one": lambda module: setattr(module, "new", "text"),
    "a plain one becomes a parameter": lambda module: setattr(
        module, "plain", torch.nn.Parameter(torch.ones(1))
    ),
    "a plain one becomes a module": lambda module: setattr(module, "plain", torch.nn.Linear(1, 1)),
    "a parameter becomes None": lambda module: setattr(module, "parameter", None),
    "a module becomes None": lambda module: setattr(module, "part", None),
    "a buffer becomes None": lambda module: setattr(module, "buffer", None),
    "a property": lambda module: setattr(module, "automatic_optimization", False),
}


def outcome(base, change):
    module = base()
    module.plain = "text"
    module.parameter = torch.nn.Parameter(torch.zeros(1))
    module.part = torch.nn.Linear(1, 1)
    module.register_buffer("buffer", torch.zeros(1))
    change(module)
    kinds = {key: sorted(getattr(module, key)) for key in ("_parameters", "_modules", "_buffers")}
    values = {key: value for key, value in vars(module).items() if isinstance(value, str | int | None)}
    names = sorted(set(vars(module)))
    return kinds, values, names, [name for name, _ in module.named_parameters()]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_setting_an_attribute_does_what_torch_does(change):
    assert outcome(QuickAttributes, change) == outcome(LightningModule, change)


@pytest.mark.parametrize("value", ["text", None, 1])
def test_what_torch_refuses_is_refused(value):
    module = QuickAttributes()
    module.parameter = torch.nn.Parameter(torch.zeros(1))
    if value is None:
        module.parameter = value
        assert module.parameter is None
    else:
        with pytest.raises(TypeError, match="cannot assign"):
            module.parameter = value
