"""Configuration files and command lines that lack what every recipe has, or hold something else there."""

import random
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from espnet3.config.compose import compose, find_recipe
from espnet3.config.flat import flat_keys
from espnet3.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


def message(recipe: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        compose(find_recipe(recipe), overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


START = b"defaults: [base, _self_]\n"
FILES = {
    "empty": (b"", "manifests is missing in .*config.yaml: every recipe has it from `base`|`base`"),
    "without base": (b"trainer: {max_epochs: 1}\n", "every recipe has it from `base`"),
    "latin-1": (START + "# für\n".encode("latin-1"), "config.yaml: no UTF-8 text"),
    "utf-16": ((START + b"a: 1\n").decode().encode("utf-16"), "config.yaml: no UTF-8 text"),
    "a null byte": (START + b"\0", "config.yaml: broken YAML: unacceptable character #x0000"),
    "a list": (b"- base\n- 1\n", r"config.yaml: the file takes a group of keys \(name: value\), not a list"),
    "a number": (b"1\n", "config.yaml: the file takes a group of keys .*, not a single value"),
    "a time in quotes": (
        b"'1:00:00'\n",
        "config.yaml: the file takes a group of keys .*, not a single value",
    ),
    "an empty block": (
        START + b"trainer:\n",
        r"trainer of .*config.yaml is empty \(null\), and takes a group",
    ),
    "a list for a block": (START + b"resources: [1]\n", "resources of .* takes a group of keys"),
    "a duplicate key": (START + b"seed: 1\nseed: 2\n", "config.yaml: broken YAML: .*duplicate key seed"),
    "a tab": (
        START + b"model:\n\tchannels: 1\n",
        r"config.yaml: broken YAML: .*'\\t' that cannot start any token",
    ),
    "a deep file": (START + b"a: " + b"[" * 2000 + b"]" * 2000, "config.yaml is nested too deeply"),
    "an anchor of itself": (START + b"a: &a [*a]\n", "config.yaml is nested too deeply, or an anchor"),
    "a dotted key": (
        START + b"trainer.max_epochs: 3\n",
        "trainer.max_epochs: keys are nested in a file: `trainer:`",
    ),
    "a mistyped stage": (
        START + b"resources: {traiin: {nodes: 2}}\n",
        "resources.traiin: .* did you mean train?",
    ),
    "a key with brackets": (START + b"'[1,2': 1\n", "can't be a key of a configuration"),
    "an unknown interpolation": (START + b"a: ${b}\n", "a: .*names a key that is not there"),
    "an interpolation of itself": (START + b"a: ${a}\n", "a: Recursive interpolation detected"),
    "a broken interpolation": (START + b"a: ${b\n", "config.yaml: no viable alternative at input"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_configuration_is_named_with_the_reason(small_recipe: Path, name: str):
    content, said = FILES[name]
    (small_recipe / "conf" / "config.yaml").write_bytes(content)
    text = message(small_recipe)
    assert re.search(said, text), text


def test_a_byte_order_mark_changes_nothing(small_recipe: Path):
    file = small_recipe / "conf" / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert compose(find_recipe(small_recipe), []).prepare.size == 3


def test_an_experiment_without_its_package_is_not_left_out_in_silence(small_recipe: Path):
    experiments = small_recipe / "conf" / "experiment"
    experiments.mkdir()
    (experiments / "big.yaml").write_text("prepare: {size: 100}\n")
    assert "`# @package _global_`" in message(small_recipe, "+experiment=big")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("~resources", "resources is missing"),
        ("~trainer.devices", "trainer.devices is missing"),
        ("~checkpoint.monitor", "checkpoint.monitor is missing"),
        ("launcher=null", "takes the name of a file in launcher/, not null; there are: allocation"),
        ("launcher=[1]", "takes the name of a file in launcher/, not 1"),
        ("@seed=1", "the key is missing"),
        ("=1", "the key is missing"),
        ("seed@model=1", "seed is no group of files"),
        ("+seed@model=1", "seed is no group of files"),
        ("sweep=null", "sweep of .* is empty"),
        ("resources='${trainer}'", "resources of .* is an interpolation"),
        ("init_from=1", "init_from=1: there is no such file"),
        ("+callbacks.x=1", "callbacks.x=1: takes {_target_: class"),
        ("model._target_=1", "model._target_=1: takes a class"),
        ("tag=", r"tag is empty \(a shell variable that is not set\?\): give a folder name, tag=NAME"),
        ("resources.train.mem_gb=inf", "resources.train.mem_gb=inf: takes GB"),
        ("resources.train.nodes=1e3", "resources.train.nodes=1000.0: takes a whole number"),
        ("resources.train.nodes=10000000000000000", "resources.train.nodes=1.*: takes a whole number"),
        ("+manifests.vallid=x", r"manifests.vallid: nothing reads x; did you mean manifests.valid\?"),
        ("+manifests.vaild=x", r"did you mean manifests.valid\?"),
        ("manifests.train=null", "manifests.train=None: takes a file"),
        ("seed=-1", "seed=-1: takes a whole number, 0 or more, up to 4294967295"),
    ],
)
def test_what_a_command_line_takes_away_or_breaks_is_told(small_recipe: Path, override: str, said: str):
    text = message(small_recipe, override)
    assert re.search(said, text), text


def test_manifests_that_are_read_may_have_any_name(small_recipe: Path):
    for name in ("vallid", "valid2", "train_960", "tests"):
        compose(find_recipe(small_recipe), [f"+manifests.{name}=x", "+dataset.files=[x]"])
    compose(find_recipe(small_recipe), ["+manifests.valid2=x", "+manifests.dev=y"])


ENTRIES = [
    "1",
    "[1]",
    "[{}]",
    "[{name: 1, dataset: {}}]",
    "[{name: a}]",
    "[{name: a, dataset: {}, transfrom: {}}]",
]


@pytest.mark.parametrize("entries", ENTRIES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_an_entry_of_another_shape_is_refused(split: str, entries: str):
    assert f"dataset.{split}" in message(
        ROOT / "egs" / "TEMPLATE", f"dataset.{split}={entries.replace(': ', ':')}"
    )


VALUES = [
    "null",
    "-1",
    "0",
    "1.5",
    "1e30",
    "9" * 30,
    "nan",
    "inf",
    "abc",
    "''",
    "[]",
    "[1]",
    "{}",
    "{a:1}",
    "true",
]
VALUES += ["'${x}'", "'${seed}'", "'a\tb'", "'é/../x'", "DELETE"]


@pytest.mark.parametrize("seed", range(4))
def test_no_value_of_any_key_ends_in_a_traceback(seed: int):
    """A sample of all pairs, another one each time `range` grows."""
    recipe = find_recipe(ROOT / "egs" / "mini_digits" / ["asr", "vocoder"][seed % 2])
    keys = flat_keys(OmegaConf.to_container(compose(recipe, []), resolve=False))
    chosen = random.Random(seed)
    for _ in range(25):
        key, value = chosen.choice(keys), chosen.choice(VALUES)
        override = f"~{key}" if value == "DELETE" else f"{key}={value}"
        try:
            compose(recipe, [override])
        except UserError as error:
            assert "\n" not in str(error), override
