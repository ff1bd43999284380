"""Hydra's syntax for several values spans the grid; what can't be swept is refused in one line."""

from pathlib import Path

import pytest

from espnet3.config.overrides import parse_overrides
from espnet3.errors import UserError
from espnet3.sweep.trials.grid import axis_of, number_of_values, parse_grid


def spanned(*overrides: str, conf: tuple[Path, ...] = (), params=None):
    grid = parse_grid(overrides, *conf, params=params)
    return {axis.key: [override.value() for override in axis.values] for axis in grid.axes}


def test_every_way_to_give_several_values():
    assert spanned(
        "a=1e-4,0.0002",
        "b=range(1,4)",
        "c=choice(x,'y z')",
        "d=[1,2],[3]",
        "+e=1,null",
        "f=range(0.1,0.3,0.1)",
    ) == {
        "a": [1e-4, 2e-4],
        "b": [1, 2, 3],
        "c": ["x", "y z"],
        "d": [[1, 2], [3]],
        "e": [1, None],
        "f": [0.1, 0.2],
    }


def test_a_grid_above_the_limit_is_refused_before_it_is_enumerated():
    overrides = ["a=shuffle(range(0,1e9))", "b=shuffle(range(0,4,0.5))", "c=x,y"]
    with pytest.raises(UserError, match=r"16,000,000,000 trials \(1,000,000,000 a x 8 b x 2 c\)") as error:
        parse_grid(overrides, most_points=100)
    assert "sweep.max_trials=100:" in str(error.value)
    assert len(list(parse_grid(overrides, most_values=1).points())) == 1
    with pytest.raises(UserError, match="16 trials"):
        parse_grid(overrides[1:], most_points=15)
    assert len(list(parse_grid(overrides[1:], most_points=16).points())) == 16


@pytest.mark.parametrize(
    "values", ["range(0,10)", "range(10,0,-3)", "range(0.1,0.55,0.1)", "1,2,2", "choice(x)"]
)
def test_values_are_counted_as_they_are_enumerated(values: str):
    (override,) = parse_overrides([f"a={values}"], several=True)
    assert number_of_values(override) == len(axis_of(override, ()).values)


def test_points_are_in_the_order_given_and_single_values_are_fixed():
    grid = parse_grid(["a=1,2", "x=5", "b=3,4"])
    assert list(grid.points()) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [override.input_line for override in grid.fixed] == ["x=5"]


def test_a_group_is_swept_by_a_glob(tmp_path: Path):
    (tmp_path / "model").mkdir()
    for name in ("big", "bigger", "small"):
        (tmp_path / "model" / f"{name}.yaml").touch()
    assert spanned("model=glob(big*)", conf=(tmp_path,)) == {"model": ["big", "bigger"]}
    with pytest.raises(UserError, match="no file of the group model matches; there are: big, bigger, small"):
        spanned("model=glob(x*)", conf=(tmp_path,))


def test_the_recipes_own_parameters_lie_under_the_command_line():
    params = {"a": "1,2", "b": "range(0,2)", "c": "7"}
    assert spanned("b=5,6", params=params) == {"a": [1, 2], "b": [5, 6]}
    assert spanned("b=5", params=params) == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("lr=interval(0,1)",),
            "an interval is searched, not enumerated: take a search such as hydra/sweeper",
        ),
        (("tag=a,b",), "all trials of a sweep have the same tag"),
        (("launcher=local,slurm",), "all trials of a sweep have the same launcher"),
        (("sweep.max_parallel=1,2",), "all trials of a sweep have the same sweep.max_parallel"),
        (("a.b={c: 1},{c: 2}", "a.b.c=1,2"), "a.b and a.b.c can't both be swept"),
        (("a=",), None),
        (("a=1,",), "is no override"),
        (("a=range(0,1,0)",), "a range has finite numbers, and a step that is not 0"),
        (("a=range(0.5,1,0)",), "a range has finite numbers"),
        (("a=range(0,inf)",), "a range has finite numbers"),
        (("a=range(nan,1)",), "a range has finite numbers"),
        (("a=range(3,1)",), "there is no value to choose"),
        (("a=range(1,4),5",), "a function can't be one of several values"),
        (("a=[range(1,4)],[5]",), "a function can't be one of several values"),
        (("a={b: interval(1,4)},{b: 5}",), "a function can't be one of several values"),
        (("a=glob(x*),y",), "a function can't be one of several values"),
        (("a=1,nan",), "nan is no value to compare trials by"),
        (("a=[1,-inf],[2,3]",), "-inf is no value to compare trials by"),
        (("a=tag(lgo,range(1,4))",), "there is no tag lgo; the only one is log"),
        (("@a=1,2",), "the key is missing"),
        (("=1",), "the key is missing"),
    ],
)
def test_what_can_not_be_swept_is_named(overrides, message):
    if message is None:
        assert spanned(*overrides) == {}
        return
    with pytest.raises(UserError, match=message) as caught:
        spanned(*overrides)
    assert "\n" not in str(caught.value)
