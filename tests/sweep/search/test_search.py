"""Searches before anything runs: spaces between Hydra and Optuna, what a study is told, what is a mistake."""

import math
from pathlib import Path

import pytest

from espnet3.config.overrides import parse_overrides
from espnet3.errors import UserError
from espnet3.sweep.search.planned import corners, plan_search
from espnet3.sweep.search.settings import is_search_requested
from espnet3.sweep.search.space import Dimension, dimension_of
from espnet3.sweep.search.study import Study
from espnet3.sweep.trials.search_record import SearchRequest

RANDOM = {"_target_": "optuna.samplers.RandomSampler", "seed": 1}
CMA_ES = (
    "hydra.sweeper.sampler._target_=optuna.samplers.CmaEsSampler",
    "~hydra.sweeper.sampler.n_startup_trials",
    "~hydra.sweeper.sampler.constant_liar",
)
TPE = {"_target_": "optuna.samplers.TPESampler", "seed": 1, "n_startup_trials": 5}


def dimension(text: str, *conf: Path) -> Dimension:
    (override,) = parse_overrides([text], several=True)
    return dimension_of(override, conf, most_values=1000)


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("a=interval(1e-2,1)", "FloatDistribution(high=1.0, log=False, low=0.01, step=None)"),
        ("a=interval(1,8)", "FloatDistribution(high=8.0, log=False, low=1.0, step=None)"),
        ("a=tag(log, interval(1e-5,1e-3))", "FloatDistribution(high=0.001, log=True, low=1e-05, step=None)"),
        ("a=int(interval(1,8))", "IntDistribution(high=8, log=False, low=1, step=1)"),
        ("a=tag(log, int(interval(1,8)))", "IntDistribution(high=8, log=True, low=1, step=1)"),
        ("a=tag(log, range(1,9))", "IntDistribution(high=8, log=True, low=1, step=1)"),
        ("a=range(1,10,2)", "IntDistribution(high=4, log=False, low=0, step=1)"),
        ("a=3e-4,0.0001", "CategoricalDistribution(choices=('a=0.0003', 'a=0.0001'))"),
        ("+a=choice(x,y_z)", "CategoricalDistribution(choices=('+a=x', '+a=y_z'))"),
    ],
)
def test_a_space_of_hydra_is_the_distribution_that_it_means(text: str, distribution: str):
    assert repr(dimension(text).distribution()) == distribution


@pytest.mark.parametrize(
    "text",
    [
        *("a=interval(-1,1e-2)", "a=tag(log, interval(1e-7,1e-3))", "a=tag(log, int(interval(1,1000)))"),
        *("++a.b=int(interval(-3,3))", "a=range(0.1,1,0.1)", "a=choice([1,2],[3])", "a=1.00001,1.00002"),
        *("a=interval(1.00001,1.00002)", "a=tag(log, interval(1,1.001))"),
    ],
)
def test_what_is_asked_for_is_an_override_that_leads_back_to_it(text: str):
    space = dimension(text)
    study = Study([space], RANDOM, "minimize")
    seen = set()
    while len(seen) < 30 and (point := study.ask()) is not None:
        (asked,) = point
        (override,) = parse_overrides([asked])  # it has one value
        assert override.get_key_element() == text.partition("=")[0]
        value = space.value(asked)
        assert value is not None and space.text(value) == asked
        seen.add(asked)
    assert len(seen) == min(30, space.size)


def test_numbers_are_as_long_as_their_interval_deserves_and_stay_in_it():
    wide = dimension("a=tag(log, interval(1e-5,1e-3))")
    assert wide.text(0.000123456789) == "a=0.00012346"
    assert dimension("a=interval(0,1)").text(1 / 3) == "a=0.3333"
    assert dimension("a=interval(0.33333,1)").text(0.333331) == "a=0.33333"
    assert wide.value("a=0.1") is None and wide.value("a=x") is None
    assert dimension("a=int(interval(1,8))").value("a=1.0") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=interval(2,1)", "an interval goes from a number to a larger one"),
        ("a=tag(log, interval(0,1))", "begins above 0"),
        ("a=tag(log, range(1,9,2))", "take tag(log, interval(…))"),
        ("a=range(3,1)", "there is no value to choose"),
        ("a=range(0,1e9)", "1,000,000,000 values to choose from, and sweep.max_trials=1000"),
        ("launcher=interval(0,1)", "all trials of a sweep have the same launcher"),
    ],
)
def test_a_space_that_can_not_be_is_a_mistake(text: str, message: str):
    with pytest.raises(UserError) as error:
        dimension(text)
    assert message in str(error.value) and text in str(error.value)


def test_no_point_is_given_twice_and_a_space_has_an_end():
    space = [dimension("a=1,2"), dimension("b=range(0,3)")]
    study = Study(space, TPE, "minimize")
    study.tell(("a=1", "b=2"), 0.5)
    study.add_running(("a=2", "b=2"))
    asked = [study.ask() for _ in range(4)]
    assert len({("a=1", "b=2"), ("a=2", "b=2"), *asked}) == 6
    assert study.ask() is None


def test_a_study_that_is_told_what_is_known_goes_on_where_it_was():
    """What is near 1e-3 was good: what a new study asks for is near it, too, or far from it."""
    space = [dimension("a=tag(log, interval(1e-6,1))")]

    def distance(text: str) -> float:
        return abs(math.log10(float(text.partition("=")[2])) + 3)

    def asked(direction: str) -> list[float]:
        study = Study(space, TPE, direction)
        for number in range(13):
            text = f"a={10 ** (-number / 2)!r}"
            study.tell((text,), distance(text))
        study.tell(("a=0.0011",), None)  # one that failed
        found = []
        for _ in range(9):
            point = study.ask()
            assert point is not None
            found.append(distance(point[0]))
            study.tell(point, found[-1])
        return sorted(found)

    near, far = asked("minimize"), asked("maximize")
    assert near[4] < 1 < 1.5 < far[4], (near, far)
    assert asked("minimize") == near  # by its seed


def test_a_study_that_begins_again_asks_for_other_points():
    space = [dimension("a=interval(0,1)")]
    first = Study(space, RANDOM, "minimize")
    begun = [first.ask() for _ in range(3)]
    again = Study(space, RANDOM, "minimize")
    for point in begun:
        assert point is not None
        again.add_running(point)
    assert again.ask() not in begun


def test_corners_hold_every_value_that_could_be_wrong_by_itself():
    space = [dimension("a=1,2,3"), dimension("b=interval(0,1)")]
    assert corners(space) == [("a=1", "b=0.0"), ("a=2", "b=1.0"), ("a=3", "b=0.0")]


def wanted(recipe: Path, *overrides: str) -> SearchRequest:
    return SearchRequest(str(recipe), ["hydra/sweeper=optuna", *overrides], ["train"], "run.sh", ["run.sh"])


def test_a_recipe_may_say_by_itself_what_is_searched_and_how(small_recipe: Path):
    from espnet3.config.compose import find_recipe

    file, recipe = small_recipe / "conf" / "config.yaml", find_recipe(small_recipe)
    assert not is_search_requested(recipe, ["seed=1,2"])
    assert is_search_requested(recipe, ["seed=1,2", "hydra/sweeper=optuna"])
    own = "hydra: {sweeper: {n_trials: 7, params: {optimizer.lr: 'interval(0,1)', seed: '1,2'}}}\n"
    defaults = "defaults: [base, {override hydra/sweeper: optuna}, _self_]"
    file.write_text(file.read_text().replace("defaults: [base, _self_]", defaults) + own)
    assert is_search_requested(recipe, ["seed=1,2"])
    assert not is_search_requested(recipe, ["seed=1,2", "hydra/sweeper=basic"])
    search = plan_search(
        SearchRequest(str(small_recipe), ["seed=3,4", "sweep.max_parallel=2"], ["train"], "", [])
    )
    assert [str(one) for one in search.space] == ["optimizer.lr: 0.0 to 1.0", "seed: 3, 4"]
    assert (search.settings.n_trials, search.at_once, search.on_slurm) == (7, 1, False)
    assert (search.objective.metric, search.objective.direction) == ("valid/loss", "minimize")


def test_how_many_run_at_once(small_recipe: Path):
    def at_once(*overrides: str) -> int:
        return plan_search(wanted(small_recipe, "seed=1,2", *overrides)).at_once

    assert at_once() == 1
    assert at_once("launcher=slurm") == 4
    assert at_once("launcher=slurm", "sweep.max_parallel=3") == 3
    assert at_once("hydra.sweeper.n_jobs=3", "sweep.max_parallel=2") == 2
    assert at_once("hydra.sweeper.n_jobs=3") == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=1"], "nothing is searched"),
        (["seed=1,2", "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: takes a whole number, 1"),
        (["seed=1,2", "hydra.sweeper.n_jobs=-1"], "hydra.sweeper.n_jobs=-1: takes a whole number, 1"),
        (["seed=1,2", "hydra.sweeper.n_trial=1"], "has no key n_trial; did you mean n_trials?"),
        (["seed=1,2", "hydra.sweeper.direction=x"], "give sweep.direction=minimize or maximize"),
        (["seed=1,2", "hydra.sweeper.storage=x"], "a search is stored in the sweep directory"),
        (
            ["seed=1,2", "hydra/sweeper/sampler=tpf"],
            "Available options in 'hydra/sweeper/sampler': random tpe",
        ),
        (["seed=1,2", "hydra.sweeper.sampler=tpe"], "choose a sampler by hydra/sweeper/sampler=tpe"),
        (["seed=1,2", "+hydra.sweeper.sampler.x=1"], "TPESampler does not take these options"),
        (
            ["seed=1,2", "hydra.sweeper.sampler._target_=optuna.samplers.TPESample"],
            "there is no such sampler; did you mean optuna.samplers.TPESampler?",
        ),
        (
            ["optimizer.lr=interval(0,1)", "seed=range(1,5)", *CMA_ES],
            "CmaEsSampler can't run here: No module named 'cmaes'",
        ),
        (["optimizer.lrr=interval(0,1)"], "has no key optimizer.lrr; did you mean optimizer.lr?"),
        (["seed=interval(0,1)"], "seed=0.0: takes a whole number, 0 or more"),
        (["seed=int(interval(-1,4))"], "seed=-1: takes a whole number, 0 or more"),
        (["seed=1,2", "sweep.objective=valid/wer"], "give sweep.direction=minimize or maximize, too"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(
    small_recipe: Path, overrides: list[str], message: str, caplog: pytest.LogCaptureFixture
):
    with pytest.raises(UserError) as error:
        plan_search(wanted(small_recipe, *overrides))
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not caplog.records


def test_without_optuna_it_is_said_what_to_install(small_recipe: Path, monkeypatch: pytest.MonkeyPatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        "espnet3.sweep.search.settings.find_spec", lambda name: None if name == "optuna" else real(name)
    )
    with pytest.raises(UserError, match="pip install optuna"):
        plan_search(wanted(small_recipe, "seed=1,2"))
