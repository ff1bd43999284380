"""What makes a finished stage stale."""

import os
from pathlib import Path

from espnet3.rundir.records.record import (
    Record,
    changed_files,
    file_states,
    finish,
    missing_outputs,
    read_record,
    write_record,
)
from espnet3.rundir.task import StageResult


def test_a_file_counts_by_its_content_however_often_it_is_written(tmp_path: Path):
    path = tmp_path / "train.jsonl"
    path.write_text("one\ntwo\n")
    record = Record(part={}, code={}, files=file_states([path], tmp_path))
    os.utime(path, (1, 1))
    assert changed_files(record, tmp_path) == []
    path.write_text("one\ntwO\n")
    assert changed_files(record, tmp_path) == ["train.jsonl changed"]
    path.unlink()
    assert changed_files(record, tmp_path) == ["train.jsonl is gone"]


def test_a_record_survives_the_disk_and_an_unreadable_one_is_none(tmp_path: Path):
    result = StageResult("3 things", tmp_path, outputs=[tmp_path / "out"], metrics={"loss": 0.5})
    record = finish(Record(part={"a": 1}, code={}), result, 1.26, tmp_path)
    write_record(tmp_path, "train", record)
    assert read_record(tmp_path, "train") == record
    assert record.done and record.seconds == 1.3
    assert missing_outputs(record, tmp_path) == ["out is gone"]
    (tmp_path / "stages" / "train.json").write_text("{")
    assert read_record(tmp_path, "train") is None


def test_what_lies_in_the_recipe_or_beside_it_may_be_moved_along(tmp_path: Path):
    recipe, shared, far = (
        tmp_path / "corpus/task",
        tmp_path / "corpus/data/train.jsonl",
        tmp_path / "far.jsonl",
    )
    recipe.mkdir(parents=True)
    shared.parent.mkdir()
    for path in (shared, far):
        path.write_text("1\n")
    record = Record(part={}, code={}, files=file_states([shared, far], recipe))
    assert set(record.files) == {"../data/train.jsonl", str(far)}
    (tmp_path / "corpus").rename(tmp_path / "moved")
    assert changed_files(record, tmp_path / "moved" / "task") == []


def test_beyond_a_sum_of_bytes_files_count_by_size_and_time(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("espnet3.rundir.records.record.CONTENT_IN_ALL_BYTES", 5)
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_text("xyz")
    states = file_states(paths, tmp_path)
    assert [bool(content) for _, _, content in states.values()] == [True, False, False]
    record = Record(part={}, code={}, files=states)
    os.utime(paths[1], (1, 1))
    assert changed_files(record, tmp_path) == ["b changed"]
