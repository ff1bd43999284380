"""What stage 3 scores is checked before anything runs, and a test set needs few keys."""

from pathlib import Path

import pytest
import yaml

from espnet3.config.compose import compose, find_recipe
from espnet3.errors import UserError

RECIPES = Path(__file__).resolve().parents[3] / "egs"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "dataset.test=[{name: valid, dataset: {path: a}}]",
            r"dataset\.test\[0\]\.name=valid: takes letters",
        ),
        ("dataset.test=[{name: a/b, dataset: {path: a}}]", r"dataset\.test\[0\]\.name=a/b: takes letters"),
        (
            "validate.splits=[tset]",
            r"validate\.splits: tset is no split and no test set; did you mean test\?",
        ),
    ],
)
def test_a_name_that_cannot_be_scored_is_named(override: str, message: str):
    with pytest.raises(UserError, match=message):
        compose(find_recipe(RECIPES / "TEMPLATE"), [override])


def test_a_test_set_has_the_keys_of_valid_that_it_does_not_give():
    entries = "[{name: test_clean, dataset: {path: c}}, {name: test_other, dataset: {path: o, num_mels: 8}}]"
    config = compose(find_recipe(RECIPES / "mini_digits" / "asr"), [f"dataset.test={entries}"])
    like = dict(config.dataset.valid[0].dataset)
    assert [dict(entry.dataset) for entry in config.dataset.test] == [
        {**like, "path": "c"},
        {**like, "path": "o", "num_mels": 8},
    ]


@pytest.mark.parametrize(
    ("recipe", "key", "shares"),
    [
        ("TEMPLATE", "model.channels=3", True),
        ("TEMPLATE", "dataset.test=[]", True),
        ("TEMPLATE", "manifests.train=other.jsonl", False),
        ("TEMPLATE", "+dataloader.collate_fn={_target_: mine.collate}", False),
        ("mini_digits/asr", "model.channels=3", True),
        ("mini_digits/asr", "model.num_mels=80", False),
        ("mini_digits/vocoder", "model.generator.channels=3", True),
        ("mini_digits/vocoder", "model.mel.num_mels=80", False),
    ],
)
def test_models_share_statistics_unless_collect_feats_works_with_what_differs(
    recipe: str, key: str, shares: bool
):
    folder = find_recipe(RECIPES / recipe)
    assert (compose(folder, []).stats_dir == compose(folder, [key]).stats_dir) == shares
    assert yaml.safe_load((folder.conf / "config.yaml").read_text())["collect_stats"]["depends_on"]
