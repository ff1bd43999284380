"""Stages by number and name, and the jobs they become."""

from pathlib import Path

import pytest

from espnet3.config.compose import compose, find_recipe
from espnet3.errors import UserError
from espnet3.launcher.planning.plan import plan, stage_range


def test_stages_go_by_number_or_name_and_both_ends_are_included():
    assert stage_range(None, None) == ["prepare", "collect_stats", "train", "validate"]
    assert stage_range("01", "train") == ["collect_stats", "train"]
    assert stage_range("validate", None) == ["validate"]


@pytest.mark.parametrize(
    ("first", "last", "part"),
    [
        ("4", None, "0 prepare"),
        ("trian", None, r"did you mean 2 train\?"),
        ("9" * 5000, None, "there is no such stage"),
        ("²", None, "--stage ²: there is no such stage; known are 0 prepare"),
        ("", None, "--stage '': there is no such stage"),
        (None, "-1", "--stop-stage -1"),
        ("2", "1", "before"),
    ],
)
def test_an_impossible_range_is_refused(first, last, part):
    with pytest.raises(UserError, match=part):
        stage_range(first, last)


def test_jobs_say_what_they_ask_for(small_recipe: Path):
    config = compose(
        find_recipe(small_recipe), ["resources.train.tasks_per_node=2", "resources.train.cpus_per_task=3"]
    )
    prepare, train = plan(config, ["prepare", "train"])
    assert str(prepare) == "stage 0 prepare: launcher=local, 1 x 1 task, 1 CPU each"
    assert str(train) == "stage 2 train: launcher=local, 1 x 2 tasks, 3 CPUs each"
    assert train.world_size == 2
    assert (prepare.directory, train.directory) == (f"{small_recipe}/data", f"{small_recipe}/exp/default")


@pytest.mark.parametrize(
    ("override", "stage"),
    [
        ("resources.train.nodes=2", "train"),
        ("resources.validate.tasks_per_node=2", "validate"),
        ("resources.prepare.gpus_per_node=2", "prepare"),
    ],
)
def test_what_the_launcher_or_the_stage_cannot_do_is_refused(small_recipe: Path, override: str, stage: str):
    config = compose(find_recipe(small_recipe), [override])
    with pytest.raises(UserError, match=f"resources.{stage}"):
        plan(config, [stage])


@pytest.mark.parametrize(
    ("stage", "overrides", "said"),
    [
        ("prepare", ["~prepare"], "stage 0 prepare needs prepare._target_"),
        ("train", ["optimizer=null"], "stage 2 train needs optimizer or optimizers"),
        ("train", ["~trainer.max_epochs"], "stage 2 train needs trainer.max_epochs or trainer.max_steps or"),
        ("validate", ["validate=null"], "stage 3 validate needs validate._target_"),
    ],
)
def test_a_stage_says_what_it_needs_and_the_configuration_lacks(
    small_recipe: Path, stage: str, overrides: list[str], said: str
):
    config = compose(find_recipe(small_recipe), overrides)
    others = [name for name in ("prepare", "train", "validate") if name != stage]
    assert len(plan(config, others)) == 2
    with pytest.raises(UserError, match=said):
        plan(config, [stage])
