import csv
import sys
from pathlib import Path

import pytest
import torch

from espnet3.components.checkpoint.ranking import best_checkpoint
from espnet3.config.compose import Recipe, compose
from espnet3.errors import UserError
from espnet3.launcher.rank.task import add_recipe_to_path
from espnet3.rundir.curves import read_curves
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task
from espnet3.stages import collect_stats, prepare, train

pytestmark = pytest.mark.slow


@pytest.fixture
def recipe(template, monkeypatch):
    """The smallest recipe with its data and statistics made, importable from here."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    for name in ("model", "prepare", "evaluate"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    add_recipe_to_path(template)
    threads = torch.get_num_threads()

    def configured(*overrides):
        config = compose(Recipe(template), [*overrides])
        Path(config.exp_dir).mkdir(parents=True, exist_ok=True)
        return config

    config = configured()
    for stage in (prepare, collect_stats):
        for home in (config.data_dir, config.stats_dir):
            Path(home).mkdir(parents=True, exist_ok=True)
        stage.run(config, Task.single("any"))
    yield configured
    torch.set_num_threads(threads)


def test_a_mistyped_monitor_is_told_before_the_first_epoch(recipe):
    config = recipe("tag=mistyped", "trainer.max_epochs=2", "checkpoint.monitor=valid/los")
    with pytest.raises(UserError, match=r"checkpoint\.monitor=valid/los: .*did you mean valid/loss\?"):
        train.run(config, Task.single("train"))
    assert not list((Path(config.exp_dir) / "checkpoints").glob("*.ckpt"))


def test_it_is_told_after_the_first_validation_where_no_batch_is_tried_before(recipe):
    unchecked = ("+trainer.num_sanity_val_steps=0", "trainer.max_epochs=3", "checkpoint.monitor=valid/los")
    config = recipe("tag=later", *unchecked)
    with pytest.raises(UserError, match=r"checkpoint\.monitor=valid/los was not logged; .*valid/loss\?"):
        train.run(config, Task.single("train"))
    assert (Path(config.exp_dir) / "checkpoints" / "epoch=1-step=6.ckpt").exists()


def weights(config):
    return torch.load(Path(config.exp_dir) / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_training_gives_checkpoints_logs_and_what_it_read(recipe):
    config = recipe("trainer.max_epochs=2")
    result = train.run(config, Task.single("train"))
    exp = Path(config.exp_dir)
    assert "2 epochs, best valid/loss" in result.summary
    assert result.outputs == [exp / "checkpoints/last.ckpt", best_checkpoint(exp / "checkpoints")]
    assert all(path.is_file() for path in result.outputs + result.inputs)
    names = {path.name for path in result.inputs}
    assert {"train.jsonl", "valid.jsonl"} <= names and "test.jsonl" not in names
    assert list(result.metrics) == ["valid/loss", "valid/accuracy"], "the monitored one first"
    with (exp / "csv/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows if row["valid/loss"]] == ["1", "2"]
    assert list((exp / "tensorboard").glob("events.*"))
    assert {path.name for path in exp.iterdir()} == {"checkpoints", "csv", "tensorboard"}


def test_the_metrics_are_those_of_the_best_checkpoint_not_of_the_last_epoch(recipe):
    config = recipe("trainer.max_epochs=3", "checkpoint.mode=max", "optimizer.lr=0.001")
    result = train.run(config, Task.single("train"))
    curves = read_curves(Path(config.exp_dir) / "csv/metrics.csv", by="epoch")
    epoch, loss = max(curves["valid/loss"], key=lambda point: point[1])
    assert epoch < 3 and f"(epoch {epoch:.0f})" in result.summary
    accuracy = dict(curves["valid/accuracy"])[epoch]
    assert result.metrics == pytest.approx({"valid/loss": loss, "valid/accuracy": accuracy})


def test_a_stopped_training_goes_on_to_the_undisturbed_end(recipe, caplog):
    stopped = Task.single("train")
    stopped.stop.set("SIGTERM")
    config = recipe("tag=stopped", "trainer.max_epochs=2")
    with pytest.raises(Stopped, match="batch 1 of epoch 1"):
        train.run(config, stopped)
    with caplog.at_level("INFO", logger="espnet3"):
        train.run(config, Task.single("train"))
    assert "stopped/checkpoints/epoch=0-batch=1-step=1.ckpt: epoch 1, batch 2" in caplog.text
    whole = recipe("tag=whole", "trainer.max_epochs=2")
    train.run(whole, Task.single("train"))
    assert equal(weights(config), weights(whole))


def test_a_finished_training_goes_on_with_more_epochs_and_loses_no_row(recipe):
    config = recipe("trainer.max_epochs=1")
    train.run(config, Task.single("train"))
    result = train.run(recipe("trainer.max_epochs=2"), Task.single("train"))
    assert result.summary.startswith("2 epochs")
    whole = recipe("tag=whole", "trainer.max_epochs=2")
    train.run(whole, Task.single("train"))
    assert equal(weights(config), weights(whole))
    texts = [(Path(c.exp_dir) / "csv/metrics.csv").read_text() for c in (config, whole)]
    assert texts[0] == texts[1]


def test_a_finished_training_that_is_run_again_changes_nothing(recipe):
    config = recipe("trainer.max_epochs=1")
    first = train.run(config, Task.single("train"))
    again = train.run(config, Task.single("train"))
    assert again.outputs == first.outputs
    assert again.summary == first.summary


def test_the_seed_decides_the_weights(recipe):
    ends = []
    for tag, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = recipe(f"tag={tag}", f"seed={seed}", "trainer.max_epochs=1")
        train.run(config, Task.single("train"))
        ends.append(weights(config))
    assert equal(ends[0], ends[1]) and not equal(ends[0], ends[2])


def test_init_from_gives_the_first_weights(recipe):
    config = recipe("trainer.max_epochs=1")
    train.run(config, Task.single("train"))
    last = Path(config.exp_dir) / "checkpoints/last.ckpt"
    tuned = recipe("tag=tuned", f"init_from={last}", "trainer.max_epochs=1", "optimizer.lr=0")
    train.run(tuned, Task.single("train"))
    assert equal(weights(tuned), weights(config))


def test_a_mistake_in_the_optimizer_is_told_before_anything_is_made(recipe):
    config = recipe("optimizer._target_=torch.optim.Adamm")
    with pytest.raises(UserError, match="optimizer: "):
        train.run(config, Task.single("train"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("~optimizer", "+optimizers={g: {optimizer: {_target_: torch.optim.Adam}, params: gen}}"),
            "optimizers.g.params: 'gen' matches no parameter",
        ),
        (
            (
                "+scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau}",
                *("+scheduler_interval=epoch", "+scheduler_monitor=valid/los", "trainer.max_epochs=1"),
            ),
            "scheduler_monitor=valid/los: validation logs valid/accuracy, valid/loss; did you mean valid/",
        ),
    ],
)
def test_a_mistake_that_only_the_model_shows_is_the_users(recipe, overrides, message):
    with pytest.raises(UserError) as caught:
        train.run(recipe(*overrides), Task.single("train"))
    assert message in str(caught.value) and "\n" not in str(caught.value)
