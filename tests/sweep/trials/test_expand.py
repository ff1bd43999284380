"""Trials of a grid: the same configurations as composed one by one, and identities that mean the result."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from espnet3.config.compose import Recipe, compose, find_recipe
from espnet3.config.flat import flatten
from espnet3.config.secrets import saved_text
from espnet3.errors import UserError
from espnet3.sweep.trials.expand import expand, expand_trials
from espnet3.sweep.trials.trial import Trial, build_trial_config

EXTRA = """
defaults: [base, _self_]
manifests: {train: "${data_dir}/train.jsonl"}
width: 4
prepare: {_target_: making.make, data_dir: "${data_dir}", size: 3, rate: 0.5, mode: ok}
note: "${exp_dir}/p"
dataset: {width: "${width}", names: [a, "b${width}"]}
dataloader: {}
model:
  _target_: nothing.Here
  stats: "${stats_dir}/x"
  depth: 2
  area: "${max:${width},${.depth}}"
  layers: {first: 1, second: "${model.depth}"}
  copy: ${model.layers}
optimizer: {_target_: torch.optim.Adam, lr: 1e-3}
callbacks: {one: {_target_: nothing.Callback, where: "${exp_dir}/x", called: "${tag}-${model.depth}"}}
hydra: {sweeper: {params: {}}}
"""
AXES = {
    "optimizer.lr": ("1e-4", "3e-4", "0.0001", "2"),
    "width": ("1", "7", "100"),
    "model.depth": ("3", "9"),
    "seed": ("1", "2"),
    "resources.train.nodes": ("1", "2"),
    "resources.train.tasks_per_node": ("1", "2"),
    "model.layers": ("{first: 5}", "{second: 8}"),
    "dataset.names": ("[x]", "['${width}',y]"),
    "+model.extra": ("1", "word"),
    "prepare.mode": ("ok", "'${model.depth}'"),
}


@pytest.fixture
def recipe(small_recipe: Path) -> Recipe:
    """The small recipe with every kind of interpolation."""
    (small_recipe / "conf" / "config.yaml").write_text(EXTRA)
    return find_recipe(small_recipe)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, set[str]]:
    """The same recipe, for tests that write nothing to it, and the digests of its trials `seed=1,2`."""
    directory = tmp_path_factory.mktemp("recipe")
    (directory / "conf").mkdir()
    (directory / "conf" / "config.yaml").write_text(EXTRA)
    (directory / "making.py").touch()
    recipe = find_recipe(directory)
    return recipe, {c.digest for c in expand(recipe, ["seed=1,2"]).candidates}


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a composition takes its time
)
@given(st.lists(st.sampled_from(sorted(AXES)), min_size=1, max_size=4, unique=True), st.data())
def test_a_trial_has_the_configuration_that_its_overrides_compose(recipe, keys, data):
    chosen = {key: data.draw(st.lists(st.sampled_from(AXES[key]), min_size=1, max_size=2)) for key in keys}
    command = [f"{key}={','.join(values)}" for key, values in chosen.items()]
    expansion = expand(recipe, command)
    for candidate in (expansion.candidates[0], expansion.candidates[-1]):  # they share no swept value
        single_trial_command = [
            text for text in command if text.split("=")[0].lstrip("+") not in candidate.values
        ]
        exp_dir = "/elsewhere/trials/one"
        composed = compose(
            recipe, [*single_trial_command, *candidate.overrides, "tag=one", f"exp_dir={exp_dir}"]
        )
        fields = {"name": "one", "digest": candidate.digest, "values": {}, "overrides": [], "config": ""}
        rest = {"changes": candidate.changes, "code": {}, "stages": [], "command": ""}
        base = expansion.bases[candidate.base_index]
        config = build_trial_config(Path("/elsewhere"), Trial(**fields, **rest), base, "one", Path(exp_dir))
        expected, found = (flatten(OmegaConf.to_container(one, resolve=True)) for one in (composed, config))
        for flat in (expected, found):
            del flat["sweep.dir"]
        assert found == expected


def test_the_folder_of_the_statistics_is_not_swept(recipe):
    with pytest.raises(UserError, match="stats_dir can't be swept"):
        expand(recipe, ["stats_dir=auto,/somewhere"])


def test_spelling_and_order_make_no_other_trial_and_duplicates_collapse(recipe):
    one = expand(recipe, ["optimizer.lr=1e-4,2e-4", "seed=1,2"])
    two = expand(recipe, ["seed=2,1", "optimizer.lr=0.0002,0.0001,1.0e-4", "resources.train.cpus_per_task=3"])
    assert {c.digest for c in one.candidates} == {c.digest for c in two.candidates}
    assert (len(two.candidates), len(two.digests)) == (4, 6)
    swept = {c.digest for c in expand(recipe, ["optimizer.lr=1e-4", "seed=1,2"]).candidates}
    assert swept < {c.digest for c in one.candidates}


@pytest.mark.parametrize(
    "override",
    [
        *("tag=other", "launcher=slurm", "logger.tensorboard=null", "sweep.max_parallel=3"),
        *("resources.validate.nodes=1", "resources.train.timeout_min=5", "checkpoint.every_minutes=7"),
        "sweep.dir=/elsewhere",
    ],
)
def test_what_changes_no_result_makes_no_other_trial(unchanged, override: str):
    recipe, digests = unchanged
    assert {c.digest for c in expand(recipe, ["seed=1,2", override]).candidates} == digests


@pytest.mark.parametrize(
    "override",
    [
        *("optimizer.lr=5", "resources.train.nodes=2", "resources.train.tasks_per_node=4", "width=5"),
        *(
            "trainer.accumulate_grad_batches=9",
            "prepare.size=4",
            "checkpoint.monitor=valid/x",
            "data_dir=/other",
        ),
    ],
)
def test_what_may_change_a_result_makes_another_trial(unchanged, override: str):
    recipe, digests = unchanged
    assert not {c.digest for c in expand(recipe, ["seed=1,2", override]).candidates} & digests


def test_the_number_of_ranks_counts_not_how_they_are_spread(recipe):
    grid = expand(recipe, ["resources.train.nodes=1,2,4", "resources.train.tasks_per_node=1,2,4"])
    assert (len(grid.digests), len(grid.candidates)) == (9, 5)  # 1, 2, 4, 8 and 16 ranks


def test_edited_code_of_the_recipe_makes_another_trial(recipe):
    before = expand(recipe, ["seed=1,2"]).candidates
    with (recipe.directory / "making.py").open("a") as code:
        code.write("BETTER = True\n")
    after = expand(recipe, ["seed=1,2"]).candidates
    assert not {c.digest for c in before} & {c.digest for c in after}
    assert before[0].code.keys() == after[0].code.keys() == {"making.py", "nothing.py"}


def test_files_are_chosen_once_for_each_choice(recipe):
    for name, width in (("narrow", 2), ("wide", 9)):
        file = recipe.conf / "experiment" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# @package _global_\nwidth: {width}\n")
    found = expand(recipe, ["+experiment=narrow,wide", "seed=1,2", "optimizer.lr=3"])
    assert [tuple(c.values.values()) for c in found.candidates] == [
        *(("narrow", 1), ("narrow", 2), ("wide", 1), ("wide", 2))
    ]
    assert [base["width"] for base in found.bases] == [2, 9]
    by_width = expand(recipe, ["width=2,9", "seed=1,2", "optimizer.lr=3"])
    assert {c.digest for c in found.candidates} == {c.digest for c in by_width.candidates}


def test_trials_that_were_chosen_one_by_one_are_those_of_the_grid(recipe):
    for name, width in (("narrow", 2), ("wide", 9)):
        file = recipe.conf / "experiment" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# @package _global_\nwidth: {width}\n")
    grid = expand(
        recipe, ["+experiment=narrow,wide", "optimizer.lr=1e-4,2e-4,3e-4", "seed=1,2", "model.depth=3"]
    )
    by_values = {tuple(c.values.values()): c.digest for c in grid.candidates}
    chosen = [
        ["+experiment=wide", "optimizer.lr=0.0003", "seed=2", "model.depth=3"],
        ["model.depth=3", "seed=2", "optimizer.lr=1e-4", "+experiment=narrow"],
    ]
    found = expand_trials(recipe, chosen, keys=["seed"])
    assert [tuple(c.values.values()) for c in found.candidates] == [("wide", 3e-4, 2), ("narrow", 1e-4, 2)]
    assert [c.digest for c in found.candidates] == [
        by_values[tuple(c.values.values())] for c in found.candidates
    ]
    assert found.fixed == ["model.depth=3"]
    with pytest.raises(UserError, match="width has a value for some trials, and none for seed=2"):
        expand_trials(recipe, [["width=3", "seed=1"], ["seed=2"]])


def test_the_recipe_may_say_what_is_swept(recipe):
    text = (recipe.conf / "config.yaml").read_text()
    (recipe.conf / "config.yaml").write_text(text.replace("params: {}", 'params: {seed: "1,2", width: "3"}'))
    assert [c.values for c in expand(recipe, []).candidates] == [{"seed": 1}, {"seed": 2}]
    assert expand(recipe, ["seed=7,8,9"]).bases[0]["width"] == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lrr=1,2"], "optimizer.lrr=1: conf/config.yaml has no key optimizer.lrr; did you mean"),
        (["optimizer.lr=1,fast"], "optimizer.lr=fast: optimizer.lr of conf/config.yaml takes a number"),
        (["seed=1,2,-3,4"], "seed=-3: takes a whole number, 0 or more"),
        (["launcher=slurm", "+experiment=a,b"], "+experiment=a: no file experiment/a.yaml"),
        (["checkpoint.mode=min,max,mid"], "checkpoint.mode=mid: takes min or max"),
        (["seed=1,2", "stats_dir='${nothing}'"], "stats_dir: ${nothing} names a key that is not there"),
        (["width=1,'${nothing}'"], "width: ${nothing} names a key that is not there"),
    ],
)
def test_a_mistake_in_any_value_is_one_line(recipe, monkeypatch, overrides, message):
    monkeypatch.chdir(recipe.directory)
    with pytest.raises(UserError) as caught:
        expand(recipe, overrides)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_secret_stays_the_name_of_its_variable(recipe, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "s3cr3t-7f3a9")
    grid = expand(
        recipe, ["seed=1,2", "+callbacks.two={_target_: nothing.X, api_key: '${oc.env:SOME_API_KEY}'}"]
    )
    assert "s3cr3t" not in str(grid.bases) + str(grid.candidates)
    first, rest = grid.candidates[0], {"overrides": [], "config": "", "code": {}, "stages": [], "command": ""}
    trial = Trial(name="x", digest=first.digest, values={}, changes=first.changes, **rest)
    config = build_trial_config(Path("/s"), trial, grid.bases[0], "x", Path("/s/trials/x"))
    assert "${oc.env:SOME_API_KEY}" in saved_text(config) and "s3cr3t" not in saved_text(config)


def test_thousands_of_trials_take_as_long_as_a_few_compositions(recipe):
    def quickest(*overrides: str) -> float:
        times = []
        for _ in range(2):
            started = time.process_time()
            expand(recipe, overrides)
            times.append(time.process_time() - started)
        return min(times)

    few = quickest("seed=0,49", "width=1,40")
    many = quickest("seed=range(0,50)", "width=range(1,41)")
    assert many < 20 * few  # as many compositions: 500 times as long


def test_a_longer_training_is_the_same_trial_unless_its_length_is_swept(recipe):
    five, ten = (expand(recipe, ["seed=1,2", f"trainer.max_epochs={epochs}"]).digests for epochs in (5, 10))
    assert five == ten
    assert len(set(expand(recipe, ["seed=1,2", "trainer.max_epochs=5,10"]).digests)) == 4
    lengths = [
        expand_trials(recipe, [["seed=1", f"trainer.max_epochs={n}"]], length_counts=True).digests
        for n in (5, 10)
    ]
    assert lengths[0] != lengths[1], "a search does not learn from shorter trainings"
