"""The smallest recipe through the command line: what runs again, stops, is moved aside, and where it is."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from espnet3.components.checkpoint.ranking import read_ranking
from espnet3.rundir.curves import read_curves
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task

TEMPLATE = Path(__file__).resolve().parents[2] / "egs" / "TEMPLATE"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe after all of its stages, with two epochs."""
    directory = tmp_path_factory.mktemp("trained") / "egs" / "mine"
    left_out = shutil.ignore_patterns("exp", "data", "__pycache__")
    shutil.copytree(TEMPLATE, directory, ignore=left_out)
    command = [sys.executable, "-m", "espnet3", "run", "--recipe", str(directory), "trainer.max_epochs=2"]
    subprocess.run(command, check=True)
    return directory


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """A copy of it: nothing in it may depend on where it lies."""
    return shutil.copytree(trained_once, tmp_path / "egs" / "mine")


def stages(output: str) -> dict[str, str]:
    """Stage name -> the first thing that was said of it."""
    said: dict[str, str] = {}
    for name, text in re.findall(r"stage \d (\w+):? (.*)", output):
        said.setdefault(name, text)
    return said


def test_the_run_directory_holds_what_the_readme_says(trained: Path, run):
    exp = trained / "exp" / "default"
    assert OmegaConf.load(exp / "config.yaml").trainer.max_epochs == 2
    origin = json.loads((exp / "run.json").read_text())
    assert "trainer.max_epochs=2" in origin["command"][0] and origin["versions"]["torch"]
    metrics = json.loads((exp / "validate" / "metrics.json").read_text())
    assert metrics["checkpoint"].startswith("checkpoints/epoch=")
    assert list(metrics["metrics"]) == ["valid", "test"]
    assert all(own.keys() == {"accuracy"} for own in metrics["metrics"].values())
    best = read_ranking(exp / "checkpoints").best[0]
    in_training = dict(read_curves(exp / "csv" / "metrics.csv", by="epoch")["valid/accuracy"])
    assert metrics["metrics"]["valid"]["accuracy"] == pytest.approx(in_training[best.epoch])
    assert (exp / "checkpoints" / "last.ckpt").exists()
    assert (exp / "csv" / "metrics.csv").exists() and list((exp / "tensorboard").rglob("events.*"))
    assert (exp / "validate" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_one_line_of_a_manifest_stops_the_command_until_the_old_training_may_be_moved_aside(
    trained: Path, run
):
    manifest = trained / "data" / "train.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    before = sorted(trained.rglob("*"))
    for flags in (["--dry-run"], []):
        code, output = run(trained, *flags, "trainer.max_epochs=2")
        assert code == 2 and "data/train.jsonl changed" in output and "--force" in output, output
    assert sorted(trained.rglob("*")) == before
    code, output = run(trained, "--stage", "1", "--force", "trainer.max_epochs=2")
    assert code == 0, output
    said = stages(output)
    assert said["collect_stats"] == "runs again: forced"
    assert said["train"].startswith("starts from scratch")
    assert said["validate"] == "runs again: forced"
    assert "95 train" in output
    assert (trained / "exp" / "default.old-1" / "checkpoints" / "last.ckpt").exists()
    _, output = run(trained, "trainer.max_epochs=2")
    assert all(text.startswith("skipped") for text in stages(output).values()), output


def test_a_trained_model_is_scored_on_further_test_sets_and_is_not_trained_again(trained: Path, run):
    lines = (trained / "data" / "test.jsonl").read_text().splitlines(keepends=True)
    (trained / "data" / "other.jsonl").write_text("".join(lines[:10]))
    (trained / "data" / "test.jsonl").write_text("".join(lines[:20]))
    other = f"dataset.test=[{{name: test_other, dataset: {{path: {trained / 'data' / 'other.jsonl'}}}}}]"
    for command in (["--stage", "3", other, "validate.splits=[test_other]"], ["trainer.max_epochs=2"]):
        code, output = run(trained, *command)
        assert code == 0 and "epoch 1/" not in output, output
    said = stages(output)
    assert all(said[stage].startswith("skipped") for stage in ("prepare", "collect_stats", "train")), output
    assert "test_other/accuracy" in output and "test/accuracy" in output
    folder = trained / "exp" / "default" / "validate"
    assert list(json.loads((folder / "metrics.json").read_text())["metrics"]) == [
        "valid",
        "test",
        "test_other",
    ]
    for name, count in (("test_other", 10), ("test", 20)):
        assert len((folder / name / "hypotheses.txt").read_text().splitlines()) == 1 + count


def test_a_training_becomes_longer_in_place_and_nothing_else(trained: Path, run):
    code, output = run(
        trained, "--stage", "2", "--stop-stage", "2", "trainer.max_epochs=2", "optimizer.lr=5e-2"
    )
    assert code == 2
    assert "optimizer.lr: 0.01 → 0.05" in output
    code, output = run(trained, "--stage", "2", "trainer.max_epochs=3")
    assert code == 0, output
    assert stages(output)["train"].startswith("continues: trainer.max_epochs: 2 → 3")
    assert "epoch 3/3" in output and "epoch 2/3" not in output
    assert stages(output)["validate"].startswith("runs again")


def test_force_trains_anew_beside_the_old_training_and_another_tag_shares_the_statistics(trained: Path, run):
    code, output = run(
        trained, "--stage", "2", "--stop-stage", "2", "--force", "optimizer.lr=5e-2", "trainer.max_epochs=1"
    )
    assert code == 0, output
    assert (trained / "exp" / "default.old-1" / "config.yaml").exists()
    assert OmegaConf.load(trained / "exp" / "default" / "config.yaml").optimizer.lr == 5e-2
    weights = trained / "exp" / "default" / "checkpoints" / "last.ckpt"
    code, output = run(trained, "tag=other", f"init_from={weights}", "trainer.max_epochs=1")
    assert code == 0, output
    assert stages(output)["collect_stats"].startswith("skipped")
    assert "initial weights from" in output
    assert len(list((trained / "exp" / "stats").iterdir())) == 1


def test_stage_0_stops_when_asked_to_and_the_same_command_makes_the_whole(template: Path, start, run, until):
    stage_0 = ("--stage", "0", "--stop-stage", "0", "prepare.sizes={train: 3000, valid: 5, test: 5}")
    command = start(template, *stage_0)
    wav = template / "data" / "wav"
    until(lambda: command.process.poll() is not None or len(list(wav.glob("*.wav"))) > 20, "20 utterances")
    command.interrupt_terminal()
    code, output = command.finish()
    assert code == 75, output
    assert 20 < len(list(wav.glob("*.wav"))) < 3010
    assert not list((template / "data").glob("*.jsonl")), "a manifest names only what is there"
    code, output = run(template, *stage_0)
    assert code == 0 and "3010 utterances" in output, output
    assert len((template / "data" / "train.jsonl").read_text().splitlines()) == 3000


def test_stage_3_stops_when_asked_to(trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(trained))
    evaluate = importlib.import_module("evaluate")
    task = Task.single("validate")
    task.stop.set("SIGTERM")
    with pytest.raises(Stopped, match="SIGTERM: valid was not scored"):
        evaluate.Accuracy()(None, [None], "valid", trained, task)
