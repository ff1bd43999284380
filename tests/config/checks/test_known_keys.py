"""Keys that a configuration does not have: which ones would be taken, and which are mistyped."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from espnet3.config.checks.known_keys import check_depends_on, has_key
from espnet3.config.compose import compose, find_recipe
from espnet3.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = ROOT / "egs" / "TEMPLATE"


def message(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        compose(find_recipe(TEMPLATE), overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("[dataset,modle]", r"depends_on: modle is no key of the configuration; did you mean model?"),
        ("[model._taget_]", "did you mean model._target_?"),
        ("[model.chanels]", "did you mean model.channels?"),
        ("[dataloader.colate_fn]", "dataloader.colate_fn is no key"),
        ("[..]", "depends_on=['..']: takes a list of keys"),
        ("[]", "depends_on=[]: takes a list of keys"),
        ("[1]", "depends_on=[1]: takes a list of keys"),
        ("null", "depends_on=None: takes a list of keys"),
        ("[[dataset]]", "takes a list of keys"),
    ],
)
def test_statistics_depend_on_keys_that_there_are(keys: str, said: str):
    assert said in message(f"collect_stats.depends_on={keys}")


@pytest.mark.parametrize(
    "key", ["dataloader.collate_fn", "model.channels", "dataset.preprocessor", "dataset.train.0"]
)
def test_a_key_that_is_not_given_but_would_be_taken_may_be_named(key: str):
    compose(find_recipe(TEMPLATE), [f"collect_stats.depends_on=[{key}]"])


def test_a_key_below_an_interpolation_is_found():
    config = {"a": {"b": 1}, "model": "${a}", "collect_stats": {"depends_on": ["model.b"]}, "recipe_dir": "."}
    check_depends_on(OmegaConf.create(config))
    assert not has_key(OmegaConf.create({"a": None}), "a.b")


@pytest.mark.parametrize(
    ("override", "by"),
    [
        ("optimizer.weight_decay=0.1", "torch.optim.Adam takes it"),
        ("trainer.min_epochs=1", "Lightning's Trainer takes it"),
        ("validate.checkpoint=last", "stage 3 takes it"),
        ("dataloader.train.num_workers=2", "the dataloader takes it"),
        ("scheduler_interval=epoch", "a recipe takes it"),
        ("dataset.preprocessor={}", "DataOrganizer takes it"),
        ("manifests={extra:x}", ""),
        ("quite.another=1", ""),
    ],
)
def test_a_key_that_needs_a_plus_is_told_with_who_takes_it(override: str, by: str):
    text = message(override)
    key = "manifests.extra" if override.startswith("manifests") else override.partition("=")[0]
    assert by in text and f"a new key is written +{key}=…" in text
