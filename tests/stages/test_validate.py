"""Stage 3: the right checkpoint is scored on each split, metrics and picture are written, mistakes named."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import DictConfig, OmegaConf

from espnet3.components.checkpoint.ranking import Ranked, Ranking, write_ranking
from espnet3.components.data.data_organizer import build_organizer
from espnet3.components.learning_curve import draw_learning_curve
from espnet3.errors import UserError
from espnet3.rundir.curves import read_curves
from espnet3.rundir.scores import read_scores
from espnet3.rundir.stop import StopFlag, Stopped
from espnet3.rundir.task import Task
from espnet3.stages.validate import find_checkpoint, run, scored_datasets, scorer_hash

RECIPE = '''
"""A model of one threshold on the loudness of tones, and its evaluator."""

import torch

from espnet3.rundir.files.atomic import write_text


class Threshold(torch.nn.Module):
    def __init__(self, size=1):
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(size))
        self.dropout = torch.nn.Dropout(0.999)

    def is_loud(self, speech):
        return self.dropout(speech.square().mean().sqrt()) > self.level


class Accuracy:
    def __init__(self, note="none"):
        self.note = note

    def __call__(self, model, dataset, split, directory, task):
        right = 0
        for index in range(len(dataset)):
            uid, data = dataset[index]
            right += bool(model.is_loud(torch.as_tensor(data["speech"]))) == data["loud"]
        write_text(directory / "hypotheses.txt", f"{split} {self.note}")
        return {"accuracy": right / len(dataset)}
'''


def make_data(folder: Path, levels: list[float]) -> str:
    """Tones of these levels, of which those above 0.2 are called loud; names the manifest."""
    folder.mkdir()
    lines = []
    for number, level in enumerate(levels):
        tone = level * math.sqrt(2) * np.sin(2 * np.pi * 220 * np.arange(2000) / 8000)
        soundfile.write(folder / f"{number}.wav", tone, 8000)
        line = {"uid": f"{folder.name}{number}", "audio": f"{number}.wav", "loud": level > 0.2}
        lines.append(json.dumps(line) + "\n")
    (folder / "manifest.jsonl").write_text("".join(lines))
    return str(folder / "manifest.jsonl")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    """A training that is done: the best checkpoint divides loud from soft, the last one does not."""
    (tmp_path / "loudness.py").write_text(RECIPE)
    monkeypatch.syspath_prepend(str(tmp_path))
    organizer: dict[str, Any] = {"_target_": "espnet3.components.data.data_organizer.DataOrganizer"}
    for split, levels in (("valid", [0.1, 0.3, 0.6, 0.19]), ("test", [0.05, 0.21])):
        dataset = {
            "_target_": "espnet3.components.data.manifest.ManifestDataset",
            "path": make_data(tmp_path / split, levels),
        }
        organizer[split] = [{"name": split, "dataset": dataset}]
    exp_dir = tmp_path / "exp"
    (exp_dir / "checkpoints").mkdir(parents=True)
    for name, level in (("epoch=1-step=10", 0.2), ("last", 0.5)):
        weights = {"level": torch.tensor([level])}
        torch.save({"state_dict": weights}, exp_dir / "checkpoints" / f"{name}.ckpt")
    best = Ranked("epoch=1-step=10.ckpt", value=0.1, epoch=1)
    write_ranking(exp_dir / "checkpoints", Ranking("valid/loss", "min", (best,)))
    (exp_dir / "csv").mkdir()
    (exp_dir / "csv" / "metrics.csv").write_text(
        "epoch,step,train/loss,valid/loss\n0,1,3.0,\n0,2,2.0,\n0,2,,2.5\n1,3,1.0,\n1,4,0.5,\n1,4,,1.5\n"
    )
    return OmegaConf.create(
        {
            "recipe_dir": str(tmp_path),
            "exp_dir": str(exp_dir),
            "manifests": {},
            "dataset": organizer,
            "model": {"_target_": "loudness.Threshold"},
            "validate": {"_target_": "loudness.Accuracy"},
            "resources": {"validate": {"gpus_per_node": 0}},
        }
    )


def metrics(config: DictConfig) -> dict[str, Any]:
    content = json.loads((Path(config.exp_dir) / "validate" / "metrics.json").read_text())
    of_splits: dict[str, Any] = content["metrics"]
    return of_splits


def test_the_best_checkpoint_is_scored_on_valid_and_test(config: DictConfig):
    result = run(config, Task.single("validate"))
    folder = Path(config.exp_dir)
    best = folder / "checkpoints" / "epoch=1-step=10.ckpt"
    assert metrics(config) == {"valid": {"accuracy": 1.0}, "test": {"accuracy": 1.0}}
    assert read_scores(folder).checkpoint == "checkpoints/epoch=1-step=10.ckpt", "no absolute path"
    assert result.metrics == {"valid/accuracy": 1.0, "test/accuracy": 1.0}
    assert (folder / "validate" / "test" / "hypotheses.txt").read_text() == "test none"
    assert result.outputs == [folder / "validate" / name for name in ("metrics.json", "learning_curve.png")]
    assert all(path.is_file() for path in result.outputs)
    named = {path.name for path in result.inputs}
    assert named >= {best.name, "manifest.jsonl", "0.wav", "3.wav"} and len(result.inputs) == 3 + 5 + 3


def test_each_split_is_told_when_it_is_scored(config: DictConfig, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", logger="espnet3"):
        run(config, Task.single("validate"))
    for split in ("valid", "test"):
        assert f"{split}: accuracy 1; see " in caplog.text


@pytest.mark.parametrize("checkpoint", ["last", "checkpoints/last.ckpt"])
def test_another_checkpoint_can_be_asked_for(config: DictConfig, checkpoint: str):
    config.validate.checkpoint = checkpoint
    config.validate.note = "again"
    run(config, Task.single("validate"))
    assert metrics(config) == {"valid": {"accuracy": 0.75}, "test": {"accuracy": 0.5}}
    assert read_scores(Path(config.exp_dir)).checkpoint.endswith("last.ckpt")


def test_only_the_splits_that_are_asked_for_are_scored(config: DictConfig):
    config.validate.splits = ["valid"]
    run(config, Task.single("validate"))
    assert metrics(config).keys() == {"valid"}


def test_each_test_set_has_its_own_metrics_and_hypotheses(config: DictConfig, tmp_path: Path):
    path = make_data(tmp_path / "other", [0.1, 0.3])
    dataset = {**config.dataset.test[0].dataset, "path": path}
    config.dataset.test = [
        {**config.dataset.test[0], "name": "test_clean"},
        {"name": "test_other", "dataset": dataset},
    ]
    config.validate.checkpoint = "last"
    result = run(config, Task.single("validate"))
    assert list(result.metrics) == ["valid/accuracy", "test_clean/accuracy", "test_other/accuracy"]
    assert "valid and test_clean and test_other" in result.summary
    for name in ("test_clean", "test_other"):
        assert (Path(config.exp_dir) / "validate" / name / "hypotheses.txt").read_text() == f"{name} none"
    config.validate.splits = ["test_other"]
    assert list(scored_datasets(build_organizer(config.dataset), ["test_other"])) == ["test_other"]


def test_scores_stay_where_unusable_utterances_are_left_out_from_now_on(config: DictConfig):
    checkpoint = find_checkpoint(config)
    before = scorer_hash(config, checkpoint)
    assert scorer_hash(OmegaConf.merge(config, {"dataset": {"on_bad": "skip"}}), checkpoint) == before
    assert scorer_hash(OmegaConf.merge(config, {"validate": {"beam": 3}}), checkpoint) != before


def test_scores_of_other_test_sets_stay_while_the_same_scores_them(config: DictConfig, tmp_path: Path):
    run(config, Task.single("validate"))
    dataset = {**config.dataset.test[0].dataset, "path": make_data(tmp_path / "other", [0.1])}
    config.dataset.test = [{"name": "test_other", "dataset": dataset}]
    config.validate.splits = ["test_other"]
    result = run(config, Task.single("validate"))
    assert list(metrics(config)) == ["valid", "test", "test_other"]
    assert result.metrics["test/accuracy"] == 1.0 and result.summary.startswith("1 utterance of test_other")
    config.validate.note = "another evaluator"
    run(config, Task.single("validate"))
    assert list(metrics(config)) == ["test_other"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("validate.splits", ["train"], "validate.splits: train, but dataset.train has no utterances"),
        (
            "validate.splits",
            ["dev"],
            "validate.splits: dev is no split and no test set; known are train, valid, test",
        ),
        ("validate.checkpoint", "bset", "validate.checkpoint=bset: takes best, last or a file"),
        ("validate", {}, "validate._target_ is missing"),
        ("model.size", 2, "last.ckpt is of another model: .*level"),
    ],
)
def test_mistakes_are_told_in_one_line(config: DictConfig, key: str, value: Any, message: str):
    if key == "model.size":
        config.validate.checkpoint = "last"
    OmegaConf.update(config, key, value, merge=False)
    with pytest.raises(UserError, match=message) as error:
        run(config, Task.single("validate"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"PK nothing", "can't be scored: its content is damaged"),
        ({"epoch": 1}, "holds no state_dict"),
        ({"state_dict": 1}, "no state_dict"),
    ],
)
def test_a_damaged_checkpoint_is_told_in_one_line(config: DictConfig, content: Any, problem: str):
    path = Path(config.exp_dir) / "checkpoints" / "last.ckpt"
    config.validate.checkpoint = "last"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=f"last.ckpt .*{problem}") as error:
        run(config, Task.single("validate"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_without_a_checkpoint_it_says_which_stage_makes_one(config: DictConfig, checkpoint: str):
    config.validate.checkpoint = checkpoint
    for path in (Path(config.exp_dir) / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"stage 2 \(train\) makes it, use --stage 2"):
        run(config, Task.single("validate"))


def test_a_checkpoint_cannot_run_code(config: DictConfig, tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": Evil()}, Path(config.exp_dir) / "checkpoints" / "last.ckpt")
    config.validate.checkpoint = "last"
    with pytest.raises(UserError, match=r"last.ckpt can't be scored: it holds a .*, and not only tensors"):
        run(config, Task.single("validate"))
    assert not (tmp_path / "ran").exists()


def test_asked_to_stop_it_leaves_the_metrics_of_the_time_before(config: DictConfig):
    run(config, Task.single("validate"))
    before = metrics(config)
    stop = StopFlag()
    stop.set("test")
    config.validate.checkpoint = "last"
    with pytest.raises(Stopped):
        run(config, Task(stage="validate", stop=stop))
    assert metrics(config) == before


def test_further_ranks_write_nothing(config: DictConfig):
    run(config, Task(stage="validate", rank=1, world_size=2))
    assert not (Path(config.exp_dir) / "validate").exists()


def test_without_logged_metrics_there_is_no_picture(config: DictConfig):
    (Path(config.exp_dir) / "csv" / "metrics.csv").unlink()
    assert len(run(config, Task.single("validate")).outputs) == 1


def test_of_an_update_that_was_logged_twice_the_newer_value_counts(tmp_path: Path):
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train/loss,valid/loss,lr\n0,2,2.0,,1\n0,3,nan,,1\n0,1,3.0,,1\n0,2,2.5,1.5,1\n"
    )
    curves = read_curves(tmp_path / "metrics.csv")
    assert curves == {"train/loss": [(1, 3.0), (2, 2.5)], "valid/loss": [(2, 1.5)]}


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\n", b'1,1,"' + b"x" * 200_000 + b'"\n', b"\0\n", b",,,,,,,,,\n", b"1\n"]
)
def test_of_damaged_metrics_the_others_count(damage: bytes, tmp_path: Path):
    file = tmp_path / "metrics.csv"
    file.write_bytes(b"epoch,step,train/loss\n0,1,3.0\n" + damage + b"0,2,2.0\n")
    assert read_curves(file) == {"train/loss": [(1, 3.0), (2, 2.0)]}


def test_the_picture_has_a_panel_for_each_validation_metric(tmp_path: Path):
    curve = [(1, 2.0), (2, 1.0)]
    one = {"train/loss": curve, "valid/loss": curve}
    draw_learning_curve(one, tmp_path / "one.png", title="one")
    draw_learning_curve({**one, "valid/accuracy": curve}, tmp_path / "two.png", title="two")
    heights = [int.from_bytes((tmp_path / f"{name}.png").read_bytes()[20:24]) for name in ("one", "two")]
    assert heights[1] == 2 * heights[0]
