"""Composition: what overrides do, and what is said about a wrong one."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from espnet3.config.compose import compose, find_recipe
from espnet3.errors import UserError


def composed(recipe: Path, *overrides: str):
    return compose(find_recipe(recipe), overrides)


def message(recipe: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        composed(recipe, *overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_recipe_states_only_what_differs_from_the_shared_configuration(small_recipe: Path):
    config = composed(small_recipe)
    assert config.prepare.size == 3
    assert config.resources.train.tasks_per_node == 1
    assert config.exp_dir == f"{small_recipe}/exp/default"
    assert config.manifests.train == f"{small_recipe}/data/train.jsonl"


def test_overrides_set_add_and_delete(small_recipe: Path):
    config = composed(small_recipe, "prepare.size=5", "+model.extra=1", "~prepare.mode", "tag=7")
    assert (config.prepare.size, config.model.extra, "mode" in config.prepare) == (5, 1, False)
    assert config.exp_dir.endswith("/exp/7")


def test_devices_and_tasks_follow_from_the_gpus(small_recipe: Path):
    config = composed(small_recipe, "resources.train.gpus_per_node=4")
    assert config.resources.train.tasks_per_node == 4
    assert config.trainer.devices == 4
    assert config.resources.validate.tasks_per_node == 1


def test_an_experiment_file_changes_the_configuration(small_recipe: Path):
    experiments = small_recipe / "conf" / "experiment"
    experiments.mkdir()
    (experiments / "big.yaml").write_text("# @package _global_\nprepare: {size: 100}\n")
    assert composed(small_recipe, "+experiment=big").prepare.size == 100
    assert composed(small_recipe, "+experiment=big", "prepare.size=7").prepare.size == 7
    assert "did you mean big?" in message(small_recipe, "+experiment=bgi")


def test_statistics_are_shared_by_what_they_do_not_depend_on(small_recipe: Path):
    default = composed(small_recipe).stats_dir
    for same in (
        "tag=other",
        "optimizer.lr=1",
        "resources.train.cpus_per_task=2",
        "collect_stats.batch_size=1",
    ):
        assert composed(small_recipe, same).stats_dir == default
    assert composed(small_recipe, "+model.width=3").stats_dir != default
    assert default.startswith(f"{small_recipe}/exp/stats/")


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (["corpus_dir=???"], "corpus_dir has no value in .*conf/config.yaml: give corpus_dir=PATH"),
        (["corpus_dir=???", "model.corpus='${corpus_dir}/a'"], "give corpus_dir=PATH"),
        (["prepare.corpus=???", "a.path=???"], "a.path, prepare.corpus have no value in"),
        (["prepare.corpus=???", "a.path=???"], "give a.path=PATH prepare.corpus=VALUE"),
    ],
)
def test_a_key_without_a_value_names_the_override_to_give(small_recipe: Path, added: list[str], said: str):
    assert re.search(said, message(small_recipe, *(f"+{text}" for text in added)))


def test_a_short_name_leads_to_all_keys_it_may_mean(small_recipe: Path):
    names = [f"optimizers.{name}.optimizer.lr" for name in ("generator", "discriminator")]
    added = [f"+{name}=1" for name in names]
    assert f"did you mean {names[0]}?" in message(small_recipe, *added, "generator.lr=2")
    assert f"{names[0]} or {names[1]}?" in message(small_recipe, *added, "optimizers.lr=2")


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("optimzer.lr=1", ["optimzer.lr=1", "conf/config.yaml", "did you mean optimizer.lr?"]),
        ("trainer.max_epoch=1", ["did you mean trainer.max_epochs?"]),
        ("quite.another=1", ["+quite.another=…"]),
        ("seed=abc", ["seed=abc", "a number", "'abc'"]),
        ("prepare.rate=fast", ["prepare.rate", "a number", "'fast'"]),
        ("prepare=3", ["prepare=3", "a group of keys"]),
        ("prepare.mode=[1]", ["prepare.mode", "a single value"]),
        ("trainer.max_epochs=1.5", ["trainer.max_epochs=1.5", "a whole number"]),
        ("resources.train.nodes=0", ["resources.train.nodes=0", "1 or more"]),
        ("resources.train.spare_nodes=-1", ["resources.train.spare_nodes=-1", "0 or more"]),
        ("resources.train.min_nodes=0", ["resources.train.min_nodes=0", "1 or more", "or null"]),
        ("resources.train.max_mem_gb=0", ["resources.train.max_mem_gb=0", "GB, more than 0"]),
        ("+resources.train.node=2", ["resources.train.node", "did you mean nodes?"]),
        ("checkpoint.mode=best", ["min or max"]),
        ("+trainer.max_epoch=3", ["trainer.max_epoch", "did you mean trainer.max_epochs?"]),
        ("+trainer.logger=true", ["trainer.logger", "group `logger`"]),
        ("tag=a/b", ["tag=a/b", "a folder name"]),
        ("tag=stats", ["not stats or sweeps"]),
        ("tag=sweeps", ["tag=sweeps", "not stats or sweeps"]),
        ("tag=null", ["tag=null", "a folder name"]),
        ("tag=true", ["tag=True", "a folder name"]),
        ("tag=p%j", ["tag=p%j", "without / \\ % ${"]),
        ("tag='a\tb'", ["a folder name"]),
        (f"tag={'x' * 201}", ["of at most 200 bytes"]),
        (r"exp_dir=/scratch/\${b}", ["exp_dir", "${b} names a key that is not there", "+b=VALUE"]),
        ("resources.train.partition='a\rb'", ["resources.train.partition", "a name"]),
        ("resources.train.setup=['a\u2028b']", ["resources.train.setup", "one line each"]),
        ("trainer=1", ["trainer=1", "name of a file in trainer/, not 1; there are: default"]),
        ("launcher=null", ["launcher=null", "slurm"]),
        ("prepare.mode.$HOME=1", ["no key prepare.mode.$HOME"]),
        ("x" * 3000 + "=1", ["no key xxx"]),
        ("recipe_dir=1.5", ["recipe_dir can't be set", "--recipe DIR"]),
        ("+recipe_dir=null", ["recipe_dir can't be set"]),
        ("tag=Größe", ["token recognition", """give it in quotes, 'tag="Größe"'"""]),
        ("tag='Gr\udcf6'", ["is no text in utf-8", "LC_ALL=C.UTF-8"]),
        (f"resources.prepare.account={'[' * 400}{']' * 400}", ["resources.prepare.account", "too deeply"]),
        (f"+more={'[' * 200}{']' * 200}", ["more: its value is nested too deeply"]),
        (f"more={'[' * 3000}{']' * 3000}", ["more: its value is nested too deeply"]),
        ("@seed=1", ["'@seed=1' is no override", "the key is missing"]),
        ("init_from=/no/such.ckpt", ["init_from=/no/such.ckpt", "no such file"]),
        ("+validate.checkpoint=/no/such.ckpt", ["validate.checkpoint=/no/such.ckpt", "no such file"]),
        ("+manifests={a: {b: 1}}", ["manifests.a={'b': 1}: takes a file"]),
        ("launcher=slrm", ["launcher=slrm", "slurm"]),
        ("+experiment=none", ["+experiment=none", "experiment"]),
        ("prepare.size=1,2", ["several values"]),
        ("prepare.size=[", ["prepare.size=[", "no override"]),
        ("prepare.size=${nowhere}", ["nowhere"]),
        ("lr=1", ["no key lr; did you mean optimizer.lr?"]),
        ("prepare.speed=1", ["a new key is written +prepare.speed=…"]),
        ("prepare.ratio=1", ["did you mean prepare.rate? (a new key is written +prepare.ratio=…)"]),
    ],
)
def test_a_mistake_is_one_line_with_key_and_what_would_be_right(
    small_recipe: Path, override: str, parts: list
):
    text = message(small_recipe, override)
    for part in parts:
        assert part in text


@pytest.mark.parametrize("value", ["1:30:00", "90:00", "-1:30"])
def test_a_number_in_base_60_is_refused_in_each_file_and_text_in_quotes_is_none(
    small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
):
    config, site = small_recipe / "conf" / "config.yaml", tmp_path / "site.yaml"
    before = config.read_text()
    config.write_text(f"{before}resources: {{train: {{timeout_min: {value}}}}}\n")
    said = message(small_recipe)
    assert f"config.yaml, line {before.count(chr(10)) + 1}: YAML reads {value} as" in said
    assert "in minutes" in said
    config.write_text(f"{before}# {value}\nnote: '{value}'\n")
    composed(small_recipe)
    site.write_text(f"resources:\n  all: {{timeout_min: {value}}}\n")
    monkeypatch.setenv("ESPNET3_SITE", str(site))
    assert f"site.yaml, line 2: YAML reads {value}" in message(small_recipe)


def test_a_broken_file_and_a_missing_recipe_are_named(small_recipe: Path, tmp_path: Path):
    (small_recipe / "conf" / "config.yaml").write_text("defaults: [base, _self_]\na: [1,\n")
    assert "config.yaml" in message(small_recipe)
    with pytest.raises(UserError, match="no recipe"):
        find_recipe(tmp_path)


@pytest.mark.parametrize("key", ["optimzer", "dataloder", "resource", "traner"])
def test_a_mistyped_key_in_a_file_is_named(small_recipe: Path, key: str):
    with (small_recipe / "conf" / "config.yaml").open("a") as config:
        config.write(f"{key}: {{}}\nmy_own_number: 3\n")
    assert f"{key} is no key" in message(small_recipe)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("dataloader: {train: {batch_sise: 4}}", "dataloader.train.batch_sise: no such option; did you mean"),
        ("dataloader: {train: {iter_factory: {_target_: x.Y}}}", "the same type of dataloader"),
        ("optimizer: {lrr: 1}", "optimizer.lrr: torch.optim.Adam takes no lrr; did you mean optimizer.lr?"),
        ("scheduler_interval: batch", "scheduler_interval must be step or epoch, given: 'batch'"),
        ("optimizer: null\nschedulers: {}", "give `optimizer` or `optimizers`"),
        (
            "optimizer: null\noptimizers: {g: {optimizer: {_target_: torch.optim.SGD}, parms: g}}",
            "optimizers.g has no key parms; did you mean optimizers.g.params?",
        ),
        (
            "optimizer: null\noptimizers: {g: {optimizer: {_target_: torch.optim.SGD, ler: 1}, params: g}}",
            "optimizers.g.optimizer.ler: torch.optim.SGD takes no ler; did you mean optimizers.g.opt",
        ),
        (
            "optimizer: null\ntrainer: {gradient_clip_val: 1.0}\n"
            "optimizers: {g: {optimizer: {_target_: torch.optim.SGD}, params: g}}",
            "trainer.gradient_clip_val cannot be given with named optimizers",
        ),
        ("prepare: {sice: 4}", "prepare.sice: making.make takes no sice; did you mean prepare.size?"),
    ],
)
def test_a_mistake_inside_a_file_is_told_before_any_stage_runs(small_recipe: Path, lines: str, expected: str):
    (small_recipe / "conf" / "mistaken.yaml").write_text(lines)
    file = small_recipe / "conf" / "config.yaml"
    file.write_text(file.read_text().replace("_self_", "_self_, mistaken"))
    assert expected in message(small_recipe)


def test_a_new_recipe_needs_no_optimizer_for_its_first_stages(small_recipe: Path):
    assert composed(small_recipe, "optimizer=null").optimizer is None


def test_a_number_may_replace_a_number_of_the_other_kind(small_recipe: Path):
    assert composed(small_recipe, "prepare.rate=1").prepare.rate == 1
    assert composed(small_recipe, "prepare.size=0.5").prepare.size == 0.5
    assert composed(small_recipe, "trainer.gradient_clip_val=0.5").trainer.gradient_clip_val == 0.5


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("sweep.objective=test/wer", "sweep.objective=test/wer: takes a metric of the valid split"),
        ("sweep.direction=up", "sweep.direction=up: takes minimize, maximize, or null"),
        ("sweep.max_parallel=0", "sweep.max_parallel=0: takes a whole number, 1 or more"),
        ("+sweep.max_paralel=2", "sweep.max_paralel is no key of sweep; did you mean max_parallel?"),
        ("optimizer.lr=1,2", "--multirun runs one trial for each value"),
    ],
)
def test_a_mistake_about_a_sweep_is_named(small_recipe: Path, override: str, expected: str):
    assert expected in message(small_recipe, override)


@pytest.mark.parametrize("name", ["config.yaml", "experiment/small.yaml"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_file_of_the_configuration_that_is_none_is_named(small_recipe: Path, name: str, make: Callable):
    path = small_recipe / "conf" / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    make(path)
    assert re.search(rf"{path.name} is a (folder|FIFO).*, not a file", message(small_recipe))


def test_a_group_can_be_chosen_only_with_base(small_recipe: Path):
    (small_recipe / "conf" / "config.yaml").write_text("prepare: {size: 1}\n")
    for choice in ("launcher=local", "logger=default"):
        assert "each recipe has it from `base`" in message(small_recipe, choice)


def test_a_key_to_depend_on_is_a_dotted_one(small_recipe: Path):
    assert "'[1,2' is no dotted key" in message(small_recipe, "collect_stats.depends_on=['[1,2']")
