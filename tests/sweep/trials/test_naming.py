"""Names of trials: what a person recognizes, what a file system and Hydra take."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet3.sweep.trials.naming import MAX_LENGTH, labels, trial_name
from espnet3.sweep.trials.value_text import name_text, same_numbers

LR = ("optimizers.generator.optimizer.lr", "optimizers.discriminator.optimizer.lr")


def test_a_trial_is_called_by_what_is_swept_in_it():
    values = {LR[0]: 1e-4, LR[1]: 0.0002}
    assert trial_name(values, "0123456789ab") == "generator.lr-1e-4__discriminator.lr-2e-4__01234567"
    assert trial_name({}, "0123456789ab") == "trial__01234567"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["optimizer.lr"], ["lr"]),
        (LR, ["generator.lr", "discriminator.lr"]),
        (["optimizer.lr", "seed", "model/encoder"], ["lr", "seed", "encoder"]),
        (["model.a.x", "model.a.y.x"], ["model.a.x", "y.x"]),
    ],
)
def test_a_key_is_shortened_as_far_as_no_other_could_be_meant(keys, expected):
    assert list(labels(keys).values()) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (1e-4, "1e-4"), (True, "true"), (None, "null"), ([3, 1e-3], "3-1e-3"),
     ("a b/c=[1]~", "a-b-c-1"), ("", "empty"), ([], "empty"), ({"a": 1}, "a-1")],
)  # fmt: skip
def test_values_are_short_and_safe(value, text):
    assert name_text(value) == text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.lists(
    st.from_regex(r"[a-z_]{1,30}([./][a-zA-Z0-9_-]{1,20}){0,4}", fullmatch=True), unique=True, max_size=6
)


@given(KEYS, st.data())
def test_any_name_is_a_folder_an_override_and_bounded(keys: list[str], data: st.DataObject):
    values = {key: data.draw(VALUES) for key in keys}
    name = trial_name(values, "f" * 64)
    assert len(name) <= MAX_LENGTH
    assert re.fullmatch(r"[A-Za-z0-9._+-]+", name)
    assert name.endswith("__ffffffff") and not name.startswith((".", "-"))


def test_a_number_that_is_whole_and_decimal_is_said_to_be_two_trials():
    trials = [{"lr": 1, "size": 2}, {"lr": 1.0, "size": 2}, {"lr": 0.01, "size": True}, {"lr": "1"}]
    said = "lr=1 and lr=1.0 are different trials: write both alike if they are one"
    assert same_numbers(trials) == [said]
