import pytest
import torch

from espnet3.components.checkpoint.ranking import best_checkpoint
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task


@pytest.fixture(scope="module")
def undisturbed(runs, tmp_path_factory):
    return runs.checkpointed(Task.alone("train"), tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize(
    ("stop", "told"),
    [
        ((0, 0), "batch 1 of epoch 1"),
        ((1, 2), "batch 3 of epoch 2"),
        ((1, 3), "batch 4 of epoch 2"),
        ((1, 4), "batch 5 of epoch 2"),  # validation follows: the resumed run does it
    ],
)
def test_a_run_that_was_stopped_and_continued_is_the_undisturbed_run(runs, undisturbed, tmp_path, stop, told):
    with pytest.raises(Stopped, match=told):
        runs.checkpointed(Task.alone("train"), tmp_path, stop=stop)
    torch.manual_seed(99)
    continued = runs.checkpointed(Task.alone("train"), tmp_path, continued=True)
    assert runs.same(continued, undisturbed)


@pytest.mark.parametrize("more", [{"epochs": 3}, {"epochs": -1, "max_steps": 15}])
def test_a_finished_training_continues_to_the_same_end(runs, undisturbed, tmp_path, more):
    runs.checkpointed(Task.alone("train"), tmp_path, epochs=1)
    torch.manual_seed(99)
    continued = runs.checkpointed(Task.alone("train"), tmp_path, continued=True, **more)
    for part in ("weights", "optimizer", "scheduler"):
        assert runs.same(continued[part], undisturbed[part]), part


@pytest.mark.parametrize("steps", [(7, 15), (5, 15), (10, 12)])
def test_a_training_that_max_steps_has_ended_continues(runs, tmp_path, steps):
    first, second = steps
    options = {"epochs": -1}
    expected = runs.checkpointed(Task.alone("train"), tmp_path / "whole", max_steps=second, **options)
    runs.checkpointed(Task.alone("train"), tmp_path, max_steps=first, **options)
    torch.manual_seed(99)
    continued = runs.checkpointed(Task.alone("train"), tmp_path, continued=True, max_steps=second, **options)
    for part in ("weights", "optimizer", "scheduler"):
        assert runs.same(continued[part], expected[part]), part


def test_last_and_the_best_are_kept_and_nothing_else(runs, tmp_path):
    runs.checkpointed(Task.alone("train"), tmp_path)
    directory = tmp_path / "checkpoints"
    names = sorted(path.name for path in directory.iterdir())
    assert len(names) == 5 and {"best.json", "last.ckpt"} <= set(names)
    best = torch.load(best_checkpoint(directory), weights_only=True)
    assert best["espnet3"]["position"] == [3, 0]
    assert best["state_dict"].keys() == {"linear.weight", "linear.bias"}
