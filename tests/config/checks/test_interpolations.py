"""A broken interpolation is named where it is written, with what would be right."""

from pathlib import Path

import pytest

from espnet3.config.compose import compose, find_recipe
from espnet3.errors import UserError


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["exp_dir=${oc.env:NO_VAR}/a"], "exp_dir: the environment variable NO_VAR is not set: export NO"),
        (["tag=${nothing}"], "tag: ${nothing} names a key that is not there; give it a value: +nothing="),
        (["prepare.size=${prepare.raet}"], "prepare.size: ${prepare.raet} names a key"),
        (["prepare.size=${prepare.raet}"], "did you mean ${prepare.rate}?"),
        (["prepare.size=${rate}"], "did you mean ${prepare.rate}?"),
        (["tag=${oc.evn:HOME}"], "tag: there is no ${oc.evn:…}; did you mean oc.env?"),
        (["~resources.train.gpus_per_node"], "resources.train.tasks_per_node: ${gpus_per_node} names a key"),
    ],
)  # fmt: skip
def test_a_broken_interpolation(
    small_recipe: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], said: str
):
    monkeypatch.delenv("NO_VAR", raising=False)
    with pytest.raises(UserError) as caught:
        compose(find_recipe(small_recipe), overrides)
    assert said in str(caught.value)


def test_what_reads_a_deleted_key_can_be_given(small_recipe: Path):
    words = ["~resources.train.gpus_per_node", "resources.train.tasks_per_node=2"]
    assert compose(find_recipe(small_recipe), words).resources.train.tasks_per_node == 2
