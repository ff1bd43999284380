"""The report's heat map and learning curves, in real headless Chromium."""

import dataclasses
from itertools import permutations

import pytest

import sweep_views as views
from espnet3.report.axes import axes
from espnet3.report.cells import colour_limits, grid, line, metric_names

pytestmark = pytest.mark.slow


def test_the_heat_map_shows_any_two_keys_as_the_picture_does(open_report):
    """JavaScript and Python put cells together by the same rules: compared for every choice."""
    view = views.vocoder()
    older = dataclasses.replace(view.trials[0], older=True)
    view = dataclasses.replace(view, trials=[older, *view.trials[1:]])
    page = open_report(view).page
    found = axes(view)
    script = """([x, y, metric, over]) => gridOf(x, y, metric, over).map(row =>
        row.map(cell => [cell.value, cell.why, cell.trials, cell.failed]))"""
    for x, y in [*permutations(range(3), 2), *((key, None) for key in range(3))]:
        for number, metric in enumerate(metric_names(view)):
            for over in ("best", "mean"):
                shown = page.evaluate(script, [x, y, number, over])
                cells = (
                    [line(view, found[x], metric, over)]
                    if y is None
                    else grid(view, found[x], found[y], metric, over)
                )
                made = [
                    [[pytest.approx(one.value), one.why, one.trials, one.failed] for one in row]
                    for row in cells
                ]
                assert shown == made, (x, y, metric, over)
    for values in ([0.5, 0.6, 0.7, 1e9, 1e12], [3.0], [-1e9, 0.1, 0.8, 0.9], [1, 1, 1, 2]):
        for direction in ("minimize", "maximize", ""):
            shown = page.evaluate(
                "([values, direction]) => colourLimits(values, direction)", [values, direction]
            )
            assert shown == pytest.approx(colour_limits(values, direction))


def test_other_keys_another_metric_and_the_mean_change_what_is_drawn(open_report):
    view = views.vocoder()
    report = open_report(view)
    page = report.page
    drawn = "document.querySelector('#map .plot').data.find(trace => trace.showscale).z"

    def cells(x, y, metric, over):
        found = axes(view)
        return [
            [pytest.approx(one.value) for one in row] for row in grid(view, found[x], found[y], metric, over)
        ]

    assert page.evaluate(drawn) == cells(0, 1, "valid/loss", "best")
    assert "best trial over seed" in page.locator("#map .said").inner_text()
    report.select("#map", "Where several", "take their mean")
    assert page.evaluate(drawn) == cells(0, 1, "valid/loss", "mean")
    assert "mean of done trials over seed" in page.locator("#map .said").inner_text()
    report.select("#map", "Metric", "test/mel_l1")
    report.select("#map", "Up", "seed")
    report.select("#map", "Across", "discriminator.lr")
    assert page.evaluate(drawn) == cells(1, 2, "test/mel_l1", "mean")
    assert "over generator.lr" in page.locator("#map .said").inner_text()
    texts = page.locator("#map .plot").evaluate("plot => plot.layout.xaxis.ticktext")
    assert texts == ["5e-5", "1e-4", "2e-4"]
    report.select("#map", "Up", "nothing: a curve")
    assert page.locator("#map .plot").evaluate("plot => plot.layout.xaxis.type") == "log"


def test_missing_and_failed_cells_look_unlike_any_value(open_report):
    page = open_report(views.vocoder()).page
    signs = page.evaluate(
        "document.querySelector('#map .plot').data.find(trace => trace.mode === 'text').text"
    )
    assert "✗ failed" in signs and "\N{EN DASH}" in signs
    grey = "document.querySelector('#map .plot').data[0].colorscale.map(stop => stop[1])"
    for colour in page.evaluate(grey):
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        assert max(red, green, blue) - min(red, green, blue) < 30, "grey, and no colour of the scale"
    page.locator("#map .numbers summary").click()
    table = page.locator("#map .numbers table").inner_text()
    assert "failed" in table and "missing" in table and "0.405" in table


def test_a_row_is_highlighted_in_curves_and_map_and_told(open_report):
    view = views.vocoder()
    report = open_report(view)
    page = report.page
    page.locator("#trials tbody tr").nth(3).click()
    chosen = report.rows()[3]
    last = page.evaluate("document.querySelector('#curves .plot').data.at(-1)")
    assert set(last["customdata"]) - {None} == {chosen}
    assert last["y"][0] == pytest.approx(view.trials[chosen].curves["valid/loss"][0][1], rel=1e-4)
    assert page.evaluate("document.querySelector('#map .plot').layout.shapes.length") == 1
    assert view.trials[chosen].command in page.locator("#selected").inner_text()
    assert page.locator("[aria-pressed=true]").count() == 1
    page.locator("#trials tbody tr").nth(5).get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert view.trials[report.rows()[5]].command in page.locator("#selected").inner_text()
    page.get_by_role("button", name="Clear the selection").click()
    assert page.locator("#selected").is_hidden()


def test_the_curves_of_all_trials_are_there(open_report):
    view = views.vocoder()
    report = open_report(view)
    page = report.page
    shown = "[...new Set(document.querySelector('#curves .plot').data.flatMap(trace => trace.customdata))]"
    with_curve = {index for index, trial in enumerate(view.trials) if trial.curves}
    assert set(page.evaluate(shown)) - {None} == with_curve
    values = "document.querySelector('#curves .plot').data.flatMap(trace => trace.y)"
    before = page.evaluate(values)
    report.select("#curves", "Metric", "train/loss")
    assert page.evaluate(values) != before
    assert set(page.evaluate(shown)) - {None} == with_curve


def test_hovering_over_a_curve_names_its_trial_and_a_click_selects_it(open_report):
    view = views.digits()
    page = open_report(view).page
    at = page.evaluate(
        """() => {
            const plot = document.querySelector('#curves .plot');
            plot.scrollIntoView({block: 'center'});
            const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
            const trace = plot.data[0], point = 5; // the one without a result, apart from the others
            return {trial: trace.customdata[point],
                    x: box.x + xaxis._offset + xaxis.l2p(trace.x[point]),
                    y: box.y + yaxis._offset + yaxis.l2p(trace.y[point])};
        }"""
    )
    page.mouse.move(at["x"] - 2, at["y"] - 2)
    page.mouse.move(at["x"], at["y"])
    page.locator("#curves .hoverlayer", has_text=view.trials[at["trial"]].name).wait_for()
    page.mouse.click(at["x"], at["y"])
    page.locator("#selected .card", has_text=view.trials[at["trial"]].name).wait_for()
