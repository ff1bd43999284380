"""Which trials run together, what their allocations have, and which stages run once for several."""

import pytest

from espnet3.errors import UserError

ALL = ("prepare", "collect_stats", "train", "validate")


def test_trials_that_ask_for_the_same_are_one_batch(planned):
    (batch,) = planned("optimizer.lr=1,2,3", "seed=1,2", "launcher=slurm").batches()
    assert len(batch.trials) == 6 and batch.on_slurm and batch.stages == ["train", "validate"]


def test_swept_resources_make_a_batch_for_each_set(planned):
    batches = planned("resources.train.nodes=1,2", "seed=1,2", "launcher=slurm").batches()
    assert [(batch.resources.nodes, len(batch.trials)) for batch in batches] == [(1, 2), (2, 2)]
    assert [batch.main.world_size for batch in batches] == [1, 2]


def test_an_allocation_has_room_for_the_stage_that_asks_for_most(planned):
    (batch,) = planned(
        "seed=1,2", "launcher=slurm", "resources.train.nodes=2", "resources.train.tasks_per_node=2",
        "resources.train.timeout_min=60", "resources.validate.cpus_per_task=5",
        "resources.validate.gpus_per_node=1", "resources.validate.tasks_per_node=1",
        "resources.train.mem_gb=4", "resources.validate.mem_gb=9", "resources.validate.timeout_min=600",
    ).batches()  # fmt: skip
    asked = batch.resources
    assert (asked.nodes, asked.tasks_per_node, asked.cpus_per_task, asked.gpus_per_node) == (2, 2, 3, 1)
    assert (asked.mem_gb, asked.timeout_min) == (9, 60)  # the time limit is the training's: it continues


def test_stages_that_several_trials_share_run_once(planned):
    (batch,) = planned("seed=1,2", "launcher=slurm").batches(ALL)
    assert batch.shared is not None
    assert [job.stage for job in batch.shared.jobs] == ["prepare", "collect_stats"]
    assert batch.stages == ["train", "validate"]


def test_what_only_one_trial_needs_it_runs_itself(planned):
    trials = planned("model.stats='${stats_dir}/a','${stats_dir}/b'", "launcher=slurm")
    assert len({trial.changes["stats_dir"] for trial in trials.trials}) == 2
    (batch,) = trials.batches(ALL)
    assert batch.shared is None and batch.stages == list(ALL)
    batches = planned("model.stats='${stats_dir}/a','${stats_dir}/b'", "seed=1,2", "launcher=slurm").batches(
        ALL
    )
    assert len({batch.shared.name for batch in batches if batch.shared}) == 2
    assert [len(batch.trials) for batch in batches] == [2, 2]


@pytest.mark.parametrize(
    ("overrides", "stages", "message"),
    [
        (["seed=1,2"], ["prepare", "collect_stats"], "give stages that include 2 or 3"),
        (["seed=1,2", "launcher=debug"], ["train"], "to debug a trial, run it alone, without --multirun"),
        (
            ["seed=1,2", "resources.validate.launcher=slurm"],
            ["train", "validate"],
            "all stages of a trial run in one",
        ),
        (["resources.train.nodes=1,2"], ["train"], "resources.train.nodes=2: launcher=local has one node"),
        (["prepare.size=1,2"], ALL, "prepare.size is swept, and stage 0 prepare of all trials fills"),
    ],
)
def test_a_contradiction_is_told_before_anything_is_started(planned, overrides, stages, message):
    with pytest.raises(UserError) as caught:
        planned(*overrides).batches(stages)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_data_of_its_own_for_each_trial_is_made_by_the_trial(planned):
    trials = planned("prepare.size=1,2", "data_dir='${recipe_dir}/data-${prepare.size}'")
    (batch,) = trials.batches(ALL)
    assert batch.shared is None and batch.stages == list(ALL)
