"""What makes a finished stage stale."""

import os
from pathlib import Path

from espnet3.rundir.record import (
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
    record = Record(part={}, code={}, files=file_states([path]))
    os.utime(path, (1, 1))
    assert changed_files(record) == []
    path.write_text("one\ntwO\n")
    assert changed_files(record) == [f"{path} changed"]
    path.unlink()
    assert changed_files(record) == [f"{path} is gone"]


def test_a_record_survives_the_disk_and_an_unreadable_one_is_none(tmp_path: Path):
    result = StageResult("3 things", tmp_path, outputs=[tmp_path / "out"], metrics={"loss": 0.5})
    record = finish(Record(part={"a": 1}, code={}), result, seconds=1.26)
    write_record(tmp_path, "train", record)
    assert read_record(tmp_path, "train") == record
    assert record.done and record.seconds == 1.3
    assert missing_outputs(record) == [f"{tmp_path / 'out'} is gone"]
    (tmp_path / "stages" / "train.json").write_text("{")
    assert read_record(tmp_path, "train") is None
