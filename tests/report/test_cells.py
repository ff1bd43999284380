"""Trials put together by the values of swept keys."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweep_views as views
from espnet3.report.axes import axes
from espnet3.report.cells import cell, colour_limits, direction_of, grid, line, metric_names


def shown(cells):
    return [[one.reason if one.value is None else round(one.value, 3) for one in row] for row in cells]


def test_a_place_without_a_value_says_why():
    t = views.trial
    view = views.sweep(
        [
            t({"x": 0, "y": 0}, "done", 0.5),
            t({"x": 1, "y": 0}, "failed"),
            t({"x": 2, "y": 0}, "killed"),
            t({"x": 0, "y": 1}, "running"),
            t({"x": 1, "y": 1}, "done", math.nan),
            t({"x": 2, "y": 1}, "done", None),
            t({"x": 0, "y": 2}, "missing"),
            t({"x": 1, "y": 2}, "cancelled"),
            t({"x": 2, "y": 2}, "diverged", last_finite=0.1),
        ]
    )
    assert shown(grid(view, *axes(view), view.objective, "best")) == [
        [0.5, "failed", "failed"],
        ["running", "diverged", "missing"],
        ["missing", "cancelled", "diverged"],
    ]


@pytest.mark.parametrize(("direction", "best"), [("minimize", 0.2), ("maximize", 0.6)])
def test_a_cell_is_the_best_trial_or_the_mean_of_those_done(direction, best):
    trials = [views.trial({"lr": 1, "seed": n}, "done", value) for n, value in enumerate((0.6, 0.2, 0.4))]
    trials += [
        views.trial({"lr": 1, "seed": 3}, "failed"),
        views.trial({"lr": 1, "seed": 4}, "done", math.inf),
    ]
    view = views.sweep(trials, direction=direction)
    one = cell(view, range(5), view.objective, "best")
    assert one.value == best and trials[one.trials[0]].objective == best
    assert one.failed == 1 and sorted(one.trials) == list(range(5))
    assert cell(view, range(5), view.objective, "mean").value == pytest.approx(0.4)


def test_another_metric_is_that_of_the_trial_best_by_the_objective():
    """A test metric must not choose its trial: that would be tuning on the test set."""
    view = views.sweep(
        [
            views.trial({"lr": 1}, "done", 0.1, metrics={"test/loss": 0.9}),
            views.trial({"lr": 1, "s": 1}, "done", 0.2, metrics={"test/loss": 0.3}),
        ]
    )
    assert cell(view, [0, 1], "test/loss", "best").value == 0.9


def test_only_done_trials_have_a_value():
    view = views.sweep([views.trial({"lr": 1}, "running", 0.1, metrics={"valid/loss": 0.1})])
    assert cell(view, [0], "valid/loss", "best").value is None


def test_a_trial_of_an_older_configuration_is_compared_with_none():
    trials = [views.trial({"lr": 1}, "done", 0.1, older=True), views.trial({"lr": 1}, "done", 0.3)]
    trials += [views.trial({"lr": 2}, "done", 0.2, older=True), views.trial({"lr": 1}, "failed", older=True)]
    view = views.sweep(trials)
    cells = line(view, axes(view)[0], view.objective, "best")
    assert [(one.value, one.reason, one.failed) for one in cells] == [(0.3, "", 0), (None, "older", 0)]


def test_one_key_is_a_line():
    view = views.digits()
    cells = line(view, axes(view)[0], view.objective, "best")
    assert [one.value for one in cells] == [0.46, 0.088, 0.076, 0.13, None]
    assert cells[-1].reason == "failed"


def test_the_objective_is_the_first_metric_and_gives_a_direction_to_its_other_splits():
    view = views.vocoder()
    assert metric_names(view) == ["valid/loss", "test/mel_l1", "valid/mel_l1"]
    assert direction_of(view, "valid/loss") == direction_of(view, "test/loss") == "minimize"
    assert direction_of(view, "valid/mel_l1") == ""


def test_diverged_values_do_not_take_the_colours_of_the_others():
    low, high = colour_limits([0.5, 0.6, 0.7, 1e9, 1e12], "minimize")
    assert low == 0.5 and high == pytest.approx(1.5)
    assert colour_limits([-1e9, 0.1, 0.8, 0.9], "maximize") == (pytest.approx(-3.1), 0.9)
    assert colour_limits([0.001, 0.06, 0.86, 1.1], "minimize") == (0.001, 1.1), (
        "values far apart are no outliers"
    )
    assert colour_limits([0.5, 1e9], "") == (0.5, 1e9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.sampled_from(["minimize", "maximize", ""]))
def test_the_best_value_has_its_own_colour_whatever_the_others(values, direction):
    low, high = colour_limits(values, direction)
    assert min(values) <= low <= high <= max(values)
    assert {"minimize": low == min(values), "maximize": high == max(values), "": True}[direction]
