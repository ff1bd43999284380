"""Swept keys as axes."""

import pytest

import sweep_views as views
from espnet3.report.axes import axes


def axis_of(*values):
    return axes(views.sweep([views.trial({"key": value}) for value in values]))[0]


def test_values_are_in_order_and_trials_know_their_place():
    axis = axis_of(4e-4, 1e-4, 2e-4, 1e-4)
    assert axis.texts == ["1e-4", "2e-4", "4e-4"]
    assert axis.positions == [2, 0, 1, 0]
    assert axis.numbers == [1e-4, 2e-4, 4e-4]


@pytest.mark.parametrize(
    ("values", "log"),
    [((1e-4, 2e-4, 4e-4), True), ((1e-4, 5e-4, 2e-3, 1e-2), True), ((0.1, 0.2, 0.3), False),
     ((1, 2, 3, 4), False), ((1e-5, 1e-3), True), ((0.1, 0.2), False), ((0, 1e-4, 1e-3), False),
     ((16, 32, 64), True)],
)  # fmt: skip
def test_what_is_spread_by_factors_is_logarithmic(values, log):
    assert axis_of(*values).log is log


def test_numbers_on_an_axis_are_written_as_everywhere():
    assert axis_of(2e-3, 1e-2, 1e-1).texts == ["2e-3", "0.01", "0.1"]
    assert axis_of(16, 32, 64).texts == ["16", "32", "64"]


def test_values_that_read_alike_stay_apart():
    axis = axis_of(1, "1", 1.0, True, None, "null")
    assert len(axis.texts) == len(set(axis.texts)) == 6
    assert axis.numbers is None
    assert sorted(axis.positions) == list(range(6))


def test_lists_and_words_are_values_too():
    assert axis_of("relu", [1, 2], {"a": 1}).texts == ["[1, 2]", "relu", '{"a": 1}']


def test_a_trial_without_the_key_has_no_place():
    view = views.sweep([views.trial({"lr": 1}), views.trial({"seed": 2})])
    lr, seed = axes(view)
    assert (lr.positions, seed.positions) == ([0, -1], [-1, 0])


def test_many_numbers_are_drawn_to_scale():
    assert not axis_of(*range(30)).to_scale
    assert axis_of(*range(31)).to_scale
    assert not axis_of(*(f"word-{n}" for n in range(31))).to_scale
