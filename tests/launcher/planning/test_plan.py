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


def test_a_job_with_spares_asks_for_them_on_slurm_and_runs_its_ranks_on_the_others(small_recipe: Path):
    overrides = ["resources.train.nodes=2", "resources.train.spare_nodes=1", "launcher=slurm"]
    (train,) = plan(compose(find_recipe(small_recipe), overrides), ["train"])
    assert str(train) == "stage 2 train: launcher=slurm, 2 x 1 task, 1 CPU each, and 1 spare node"
    assert train.world_size == 2
    assert train.resources.sbatch_options()["nodes"] == 3 and train.resources.sbatch_options()["no-kill"]
    overrides[1] = "resources.train.min_nodes=1"
    (train,) = plan(compose(find_recipe(small_recipe), overrides), ["train"])
    assert train.resources.sbatch_options()["nodes"] == 2 and train.resources.sbatch_options()["no-kill"]
    overrides[1] = "resources.train.min_nodes=2"  # all of them
    (train,) = plan(compose(find_recipe(small_recipe), overrides), ["train"])
    assert "no-kill" not in train.resources.sbatch_options()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["min_nodes=3", "nodes=2"], "resources.train.min_nodes=3: is more than resources.train.nodes=2"),
        (["max_mem_gb=3", "mem_gb=4"], "resources.train.max_mem_gb=3: is less than resources.train.mem_gb=4"),
    ],
)
def test_limits_that_contradict_the_start_are_refused(small_recipe: Path, overrides: list[str], said: str):
    words = ["launcher=slurm", *(f"resources.train.{word}" for word in overrides)]
    with pytest.raises(UserError, match=said):
        plan(compose(find_recipe(small_recipe), words), ["train"])


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
