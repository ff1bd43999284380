"""Curves thinned to what a page can hold."""

import math

from hypothesis import given
from hypothesis import strategies as st

import sweep_views as views
from espnet3.report.curves import BUDGET, FEWEST, MOST, embedded_curves, points_each, thin

curves = st.lists(st.floats(allow_infinity=False, width=32), min_size=1, max_size=300).map(
    lambda values: [(float(epoch), value) for epoch, value in enumerate(values)]
)


@given(curves, st.integers(4, 50))
def test_a_thinned_curve_keeps_its_ends_and_extremes(curve, most):
    kept = thin(curve, most)
    assert len(kept) <= most
    assert [str(point) for point in kept] == [str(point) for point in curve if point in kept]
    assert str(kept[0]) == str(curve[0]) and str(kept[-1]) == str(curve[-1])
    values = [value for _, value in curve if math.isfinite(value)]
    shown = [value for _, value in kept if math.isfinite(value)]
    if values:
        assert (min(shown), max(shown)) == (min(values), max(values))


def test_short_curves_are_kept_whole_and_share_their_epochs():
    view = views.vocoder(epochs=20)
    embedded = embedded_curves(view)
    assert embedded["thinned_to"] == 0
    assert embedded["epochs"] == [list(range(20)), list(range(6)), list(range(10))]
    index, epochs, values = embedded["metrics"]["valid/loss"][0]
    assert embedded["epochs"][epochs] == [epoch for epoch, _ in view.trials[index].curves["valid/loss"]]
    for given_value, (_, value) in zip(values, view.trials[index].curves["valid/loss"], strict=True):
        assert math.isclose(given_value, value, rel_tol=1e-4)


def test_all_curves_together_keep_to_the_budget():
    assert points_each([1000] * 10) == MOST
    many = [1000] * 8000
    assert len(many) * points_each(many) <= BUDGET
    assert points_each([1000] * 100_000) == FEWEST


def test_a_value_that_is_no_number_is_a_gap():
    view = views.sweep(
        [views.trial({"lr": 1}, curves={"loss": [(0.0, math.nan), (1.0, math.inf), (2.0, 1.5)]})]
    )
    assert embedded_curves(view)["metrics"]["loss"] == [[0, 0, [None, None, 1.5]]]
