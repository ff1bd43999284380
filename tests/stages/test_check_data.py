"""The checking process: its answer, its report, and the record that spares the next one."""

import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from espnet3.config.fingerprint import data_hash, own_code
from espnet3.errors import UserError
from espnet3.launcher.attempt import data_check
from espnet3.rundir.records.data_check import DataCheckResult, data_check_path, read_data_check
from espnet3.stages.check_data import SHOWN, import_targets, run
from espnet3.terminal.screen import Screen
from tests.components.data.conftest import write_corpus


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """Nine utterances for training, three of which are gone; and three good ones to validate."""
    entry = {"_target_": "espnet3.components.data.manifest.ManifestDataset"}
    splits = {
        split: [
            {"name": split, "dataset": {**entry, "path": str(write_corpus(tmp_path / split, count, first))}}
        ]
        for split, count, first in (("train", 9, 0), ("valid", 3, 100))
    }
    for number in (1, 4, 7):
        (tmp_path / "train" / "wav" / f"spk1-{number:03d}.wav").unlink()
    target = "espnet3.components.data.data_organizer.DataOrganizer"
    return OmegaConf.create(
        {
            **{"recipe_dir": str(tmp_path / "recipe"), "data_dir": str(tmp_path / "data")},
            "dataset": {"_target_": target, "on_bad": "error", **splits},
        }
    )


def test_what_could_be_imported_is_imported_again_only_when_its_code_has_changed(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "once.py").write_text("class Model: ...\n")
    monkeypatch.syspath_prepend(str(recipe))
    config.model = {"_target_": "once.Model"}
    asked = []
    monkeypatch.setattr(data_check, "_check_briefly", lambda config, level, screen: asked.append(level))
    data_check.check_imports(config, Screen())
    check(config, "imports")
    data_check.check_imports(config, Screen())
    assert asked == ["imports"]
    (recipe / "once.py").write_text("import nowhere\n\nclass Model: ...\n")
    data_check.check_imports(config, Screen())
    assert asked == ["imports", "imports"]


def check(config: Any, level: str = "full") -> DataCheckResult:
    report = Path(config.data_dir).parent / "exp" / "data_check.txt"
    return run(config, level, report, lambda done, total: None)


def is_recorded(config: Any, level: str) -> bool:
    record = read_data_check(data_check_path(config, data_hash(config, "dataset")))
    return record is not None and record.covers(level, own_code(config, "dataset"))


def test_problems_stop_the_stages_and_are_all_in_the_report(config: Any, tmp_path: Path):
    result = check(config)
    assert result.error.startswith("3 of 12 utterances can't be used: ")
    assert "data_check.txt lists all" in result.error and "dataset.on_bad=skip" in result.error
    report = (tmp_path / "exp" / "data_check.txt").read_text().splitlines()
    assert report == ["# 9 train, 3 valid utterances", *result.lines] and len(result.lines) == 3
    assert not is_recorded(config, "quick")


def test_only_the_first_lines_are_for_the_screen(config: Any, tmp_path: Path):
    manifest = tmp_path / "train" / "manifest.jsonl"
    manifest.write_text(manifest.read_text() + "torn\n" * 40)
    result = check(config, "manifests")
    assert (len(result.lines), result.more) == (SHOWN, 40 - SHOWN)
    assert len((tmp_path / "exp" / "data_check.txt").read_text().splitlines()) == 41


def test_good_data_are_recorded_until_a_file_or_the_configuration_changes(config: Any, tmp_path: Path):
    config.dataset.train = config.dataset.valid
    config.dataset.valid = []
    assert check(config, "quick") == DataCheckResult(summary="3 train utterances")
    assert is_recorded(config, "quick") and not is_recorded(config, "full")
    check(config, "full")
    assert is_recorded(config, "quick") and is_recorded(config, "full")
    assert not (tmp_path / "exp" / "data_check.txt").exists()
    config.dataset.seed = 3
    assert not is_recorded(config, "quick")
    config.dataset.pop("seed")
    (tmp_path / "valid" / "wav" / "spk1-100.wav").write_bytes(b"")
    assert not is_recorded(config, "quick")


def test_skipping_lists_what_is_left_out_and_lets_the_stages_begin(config: Any, tmp_path: Path):
    config.dataset.on_bad = "skip"
    result = check(config)
    assert result.error == "" and "3 of them left out (dataset.on_bad=skip)" in result.summary
    (listed,) = (tmp_path / "data" / "check").glob("left_out-train-*.json")
    assert '"4": "spk1-004"' in listed.read_text()
    assert is_recorded(config, "full")
    (tmp_path / "train" / "wav" / "spk1-004.wav").write_bytes(b"it came back")
    assert not is_recorded(config, "full"), "one that was missing may be usable now"


def test_a_split_of_which_nothing_is_left_stops_the_stages(config: Any, tmp_path: Path):
    config.dataset.on_bad = "skip"
    for path in (tmp_path / "valid" / "wav").iterdir():
        path.write_bytes(b"")
    assert "which leaves none in dataset.valid" in check(config).error


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import torch\n1 / 0\n", r"imported_1\.py:2: ZeroDivisionError: division by zero"),
        ("\n\nfrom math import nothing\n", r"imported_1\.py:3: ImportError: cannot import name 'nothing'"),
        ("def (\n", r"imported_1\.py:1: SyntaxError: "),
    ],
)
def test_what_fails_while_a_module_is_imported_has_file_line_and_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
):
    recipe = tmp_path / "egs" / "recipe"
    recipe.mkdir(parents=True)
    (recipe / "imported_1.py").write_text(source)
    monkeypatch.syspath_prepend(str(recipe))
    monkeypatch.delitem(sys.modules, "imported_1", raising=False)
    config: Any = OmegaConf.create(
        {"recipe_dir": str(recipe), "model": {"_target_": "imported_1.Model"}, "x": {"_target_": "other.Y"}}
    )
    with pytest.raises(UserError, match=rf"model\._target_=imported_1\.Model can't be imported, .*{message}"):
        import_targets(config)
