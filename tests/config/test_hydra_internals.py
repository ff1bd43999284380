"""Hydra and OmegaConf have what espnet3 needs of their internals; else a failure says what is gone."""

from dataclasses import fields

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from omegaconf import OmegaConf

from espnet3.config.hydra_internals import is_null, unresolved, with_element


@pytest.mark.parametrize("name", ["_value", "value_type", "input_line"])
def test_hydra_has(name: str):
    gone = f"hydra-core {hydra.__version__} has no Override.{name}, which with_element() needs"
    assert name in {field.name for field in fields(Override) if field.init}, gone


@pytest.mark.parametrize(
    ("typed", "alone"),
    [
        ("a=1,2", "a=1"),
        ("+a.b=x,y", "+a.b=x"),
        ("a='1',2", "a='1'"),
        ("g@p=x,y", "g@p=x"),
        ("a=[1,2],3", "a=[1,2]"),
        ("a=range(1,4)", "a=1"),
    ],
)
def test_one_of_several_values_is_as_if_it_had_been_given_alone(typed: str, alone: str):
    several, one = (OverridesParser.create().parse_override(text) for text in (typed, alone))
    found = with_element(several, next(several.sweep_iterator()), alone)
    assert found == one and found.value_type == ValueType.ELEMENT


def test_an_element_that_was_cast_keeps_its_type():
    several = OverridesParser.create().parse_override("a=str(choice(1,2))")
    assert with_element(several, next(several.sweep_iterator()), "a=1").value() == "1"


def test_a_node_is_looked_at_without_being_resolved():
    config = OmegaConf.create({"a": "${nothing}", "b": ["${nothing}"]})
    assert str(unresolved(config, "a")) == str(unresolved(unresolved(config, "b"), 0)) == "${nothing}"
    assert not is_null(config) and is_null(OmegaConf.create(None))
