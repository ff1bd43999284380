"""Numbers of attempts, and files of others."""

from pathlib import Path

import pytest

from espnet3.rundir.layout import attempt_dir, foreign_entries, log_path, new_attempt


def test_an_attempt_is_new_though_the_one_before_was_killed_before_it_left_a_log(tmp_path: Path):
    assert new_attempt(tmp_path, "train") == 1
    log_path(tmp_path, "train", 9, 0).parent.mkdir(parents=True)
    attempt_dir(tmp_path, "train", 10).mkdir(parents=True)
    attempt_dir(tmp_path, "validate", 30).mkdir(parents=True)
    assert new_attempt(tmp_path, "train") == 11


def test_files_of_others_are_told_apart(tmp_path: Path):
    assert foreign_entries(tmp_path / "new") == foreign_entries(tmp_path) == []
    for name in (".nfs1", "trial.json", "config.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "logs").mkdir()
    assert foreign_entries(tmp_path) == []
    (tmp_path / "thesis.tex").touch()
    assert foreign_entries(tmp_path) == ["thesis.tex"]
    attempt_dir(tmp_path, "train", 1).mkdir(parents=True)
    assert foreign_entries(tmp_path) == []  # a file that was put into a run directory


@pytest.mark.parametrize("provenance", [None, "{}", "damaged", '{"versions": {"torch": "2.0"}}'])
def test_another_tools_files_with_names_of_ours_are_not_ours(tmp_path: Path, provenance: str | None):
    names = ["checkpoints", "config.yaml"]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").touch()
    if provenance is not None:
        (tmp_path / "run.json").write_text(provenance)
        names.append("run.json")
    for folder in ("jobs/night-1", "jobs/train-me", "attempts/mine-2"):
        (tmp_path / folder).mkdir(parents=True)
    assert sorted(foreign_entries(tmp_path)) == names


def test_a_training_without_its_bookkeeping_is_ours(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "run.json").write_text('{"format": 1, "versions": {"espnet3": "0.2.0"}}')
    assert foreign_entries(tmp_path) == []
