"""The picture of the swept keys."""

import math
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

import sweep_views as views
from espnet3.errors import UserError
from espnet3.report.choice import choose
from espnet3.report.picture.cells import draw_cells
from espnet3.report.picture.curve import draw_curve
from espnet3.report.picture.draw import draw_picture, title


def cells_of(view, **chosen):
    """Panel of the heat map: what it draws can be read from it."""
    choice = choose(view, **chosen)
    figure = Figure()
    panel = figure.subplots()
    draw_cells(figure, panel, view, choice, choice.y)
    return panel


def texts(panel):
    return {text.get_position(): text.get_text() for text in panel.texts}


def test_the_heat_map_has_a_number_or_a_reason_in_each_cell():
    t = views.trial
    view = views.sweep(
        [t({"x": 0, "y": 0}, "done", 0.5), t({"x": 1, "y": 0}, "done", 0.25), t({"x": 0, "y": 1}, "failed")]
    )
    panel = cells_of(view)
    assert texts(panel) == {(0, 0): "0.5", (1, 0): "★ 0.25", (0, 1): "✗ failed", (1, 1): "\N{EN DASH}"}
    drawn = panel.images[0].get_array().filled(math.nan)
    np.testing.assert_equal(drawn, [[0.5, 0.25], [math.nan, math.nan]])
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0", "1"]
    hatched = {patch.get_xy() for patch in panel.patches if patch.get_hatch()}
    assert hatched == {(-0.5, 0.5)}


def test_the_dark_end_of_the_colours_is_the_better_one():
    def brightness(direction):
        trials = [views.trial({"x": n, "y": 0}, "done", value) for n, value in enumerate((0.1, 0.9))]
        image = cells_of(views.sweep(trials, direction=direction)).images[0]
        return [sum(image.to_rgba(np.array([value]))[0, :3]) for value in (0.1, 0.9)]

    low, high = brightness("minimize")
    assert low < high
    low, high = brightness("maximize")
    assert low > high


def test_a_key_a_metric_and_the_mean_can_be_chosen():
    view = views.vocoder()
    panel = cells_of(view, keys=["seed", "generator.lr"], metric="test/mel_l1", over="mean")
    assert panel.get_xlabel() == "seed" and panel.get_ylabel() == "generator.lr"
    done = [t.metrics["test/mel_l1"] for t in view.trials if t.state == "done"
            and t.values["seed"] == 0 and t.values[views.GENERATOR] == 1e-4]  # fmt: skip
    assert panel.images[0].get_array()[0, 0] == pytest.approx(sum(done) / len(done))


def test_the_title_says_what_stands_for_trials_that_meet():
    view = views.vocoder()
    assert title(view, choose(view), 2) == "corpus/task vocoder-learning-rates: best over seed"
    assert title(view, choose(view, over="mean"), 2) == "corpus/task vocoder-learning-rates: mean over seed"
    by = "corpus/task vocoder-learning-rates: best by valid/loss over seed"
    assert title(view, choose(view, metric="test/mel_l1"), 2) == by
    assert title(view, choose(view), 1) == "corpus/task vocoder-learning-rates"


def test_one_key_is_a_curve_to_scale_with_failures_at_its_foot():
    view = views.digits()
    figure = Figure()
    panel = figure.subplots()
    draw_curve(figure, panel, view, choose(view))
    assert panel.get_xscale() == "log"
    line, failed = panel.lines[0], panel.lines[-1]
    np.testing.assert_equal(line.get_ydata(), [0.46, 0.088, 0.076, 0.13, math.nan])
    assert list(failed.get_xdata()) == [0.1]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["1e-4", "5e-4", "2e-3", "0.01", "0.1"]


@pytest.mark.parametrize("name", ["vocoder", "digits", "hostile"])
def test_a_png_file_is_made_of_any_sweep(tmp_path: Path, name: str):
    view = getattr(views, name)()
    draw_picture(view, choose(view), tmp_path / "picture.png")
    image = matplotlib.image.imread(tmp_path / "picture.png")
    assert image.shape[0] > 300 and image.shape[1] > 500
    assert image.std() > 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_many_values_are_points(tmp_path: Path):
    view = views.many(60, epochs=1)
    assert choose(view).to_scale
    draw_picture(view, choose(view), tmp_path / "picture.png")
    assert matplotlib.image.imread(tmp_path / "picture.png").std() > 0.05


@pytest.mark.parametrize("state", ["queued", "failed", "missing"])
@pytest.mark.parametrize("keys", [["lr"], ["lr", "seed"]])
def test_a_sweep_without_any_result_has_a_picture_too(tmp_path: Path, state: str, keys: list[str]):
    view = views.sweep([views.trial(dict.fromkeys(keys, n), state) for n in range(3)])
    draw_picture(view, choose(view), tmp_path / "picture.png")


def test_nothing_swept_is_no_picture():
    assert choose(views.sweep([views.trial({}, "done", 0.5)])) is None


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"keys": ["generator.lrr"]}, "--keys generator.lrr: there is no such swept key; did you mean"),
        ({"keys": ["seed", "seed"]}, "--keys seed,seed: takes one key, or two different ones"),
        ({"keys": ["seed", "generator.lr", "discriminator.lr"]}, "takes one key, or two different ones"),
        ({"metric": "valid/los"}, "--metric valid/los: there is no such metric; did you mean valid/loss?"),
        ({"metric": "cer"}, "--metric cer: there is no such metric; there are valid/loss, test/mel_l1"),
    ],
)
def test_a_mistaken_choice_is_named(chosen, said):
    with pytest.raises(UserError, match=r"^--") as error:
        choose(views.vocoder(), **chosen)
    assert said in str(error.value)
