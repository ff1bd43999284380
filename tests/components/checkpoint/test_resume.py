from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

import training_runs as runs
from espnet3.components.checkpoint.folder import Position, position_of
from espnet3.components.checkpoint.ranking import best_checkpoint, read_ranking
from espnet3.components.checkpoint.run_checkpoint import RunCheckpoint
from espnet3.errors import UserError
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return runs.checkpointed(Task.single("train"), tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize(
    ("stop", "told"),
    [
        ((0, 0), "batch 1 of epoch 1"),
        ((1, 2), "batch 3 of epoch 2"),
        ((1, 3), "batch 4 of epoch 2"),
        ((1, 4), "batch 5 of epoch 2"),  # validation follows: the resumed run does it
    ],
)
def test_a_run_that_was_stopped_and_continued_is_the_undisturbed_run(undisturbed, tmp_path, stop, told):
    with pytest.raises(Stopped, match=told):
        runs.checkpointed(Task.single("train"), tmp_path, stop=stop)
    torch.manual_seed(99)
    continued = runs.checkpointed(Task.single("train"), tmp_path, continued=True)
    assert runs.same(continued, undisturbed)


@pytest.mark.parametrize("more", [{"epochs": 3}, {"epochs": -1, "max_steps": 15}])
def test_a_finished_training_continues_to_the_same_end(undisturbed, tmp_path, more):
    runs.checkpointed(Task.single("train"), tmp_path, epochs=1)
    torch.manual_seed(99)
    continued = runs.checkpointed(Task.single("train"), tmp_path, continued=True, **more)
    for part in ("weights", "optimizer", "scheduler"):
        assert runs.same(continued[part], undisturbed[part]), part


@pytest.mark.parametrize("steps", [(7, 15), (5, 15), (10, 12)])
def test_a_training_that_max_steps_has_ended_continues(tmp_path, steps):
    first, second = steps
    options = {"epochs": -1}
    expected = runs.checkpointed(Task.single("train"), tmp_path / "whole", max_steps=second, **options)
    runs.checkpointed(Task.single("train"), tmp_path, max_steps=first, **options)
    torch.manual_seed(99)
    continued = runs.checkpointed(Task.single("train"), tmp_path, continued=True, max_steps=second, **options)
    for part in ("weights", "optimizer", "scheduler"):
        assert runs.same(continued[part], expected[part]), part


def test_the_newest_and_the_best_are_kept_and_nothing_else(tmp_path):
    runs.checkpointed(Task.single("train"), tmp_path, epochs=6)
    directory = tmp_path / "checkpoints"
    best = read_ranking(directory).best
    newest = {"epoch=5-step=25.ckpt", "epoch=6-step=30.ckpt"}
    expected = {*newest, *(entry.file for entry in best), "best.json", "last.ckpt"}
    assert {path.name for path in directory.iterdir()} == expected
    assert len(best) == 2 and len(expected) < 6 + 2
    content = torch.load(best_checkpoint(directory), weights_only=True)
    assert content["espnet3"]["position"] == [best[0].epoch, 0]
    assert content["state_dict"].keys() == {"linear.weight", "linear.bias"}


def test_batches_of_all_epochs_are_counted_whatever_they_update(tmp_path):
    checkpoints = RunCheckpoint(tmp_path, "train/loss", keep_last=100, every_n_batches=3)
    batches = [runs.data(index) for index in range(10)]
    runs.fit(batches, tmp_path, callbacks=[checkpoints], max_epochs=2, accumulate_grad_batches=2)
    written = sorted(position_of(path.name) for path in tmp_path.glob("epoch=*.ckpt"))
    inside = [Position(0, 3), Position(0, 6), Position(0, 9), Position(1, 2), Position(1, 5), Position(1, 8)]
    assert written == sorted([*inside, Position(1), Position(2)])


class Careless(Callback):
    """Puts into checkpoints what is no plain data."""

    def state_dict(self):
        return {"where": Path("here")}


def test_a_checkpoint_that_could_not_be_read_again_is_told_when_the_first_is_written(tmp_path):
    checkpoints = RunCheckpoint(tmp_path, "train/loss", every_n_batches=2)
    batches = [runs.data(index) for index in range(10)]
    told = r"batch=2-step=2\.ckpt can't be read back: it holds a pathlib\.PosixPath, .*callback"
    with pytest.raises(UserError, match=told):
        runs.fit(batches, tmp_path, callbacks=[checkpoints, Careless()])
    assert not list(tmp_path.glob("*.ckpt"))
