"""What makes a finished stage stale."""

import os
from pathlib import Path

import pytest

from espnet3.rundir.records.code import changed_code, hash_code
from espnet3.rundir.records.inputs import file_states
from espnet3.rundir.records.record import (
    Record,
    changed_inputs,
    finish,
    missing_outputs,
    read_record,
    record_path,
    write_record,
)
from espnet3.rundir.task import StageResult


def test_a_file_counts_by_its_content_however_often_it_is_written(tmp_path: Path):
    path = tmp_path / "train.jsonl"
    path.write_text("one\ntwo\n")
    record = Record(part={}, code={}, files=file_states([path], tmp_path))
    os.utime(path, (1, 1))
    assert changed_inputs(record, tmp_path) == []
    path.write_text("one\ntwO\n")
    assert changed_inputs(record, tmp_path) == ["train.jsonl changed"]
    path.unlink()
    assert changed_inputs(record, tmp_path) == ["train.jsonl is gone"]


def test_a_record_survives_the_disk_and_an_unreadable_one_is_none(tmp_path: Path):
    result = StageResult("3 things", tmp_path, outputs=[tmp_path / "out"], metrics={"loss": 0.5})
    record = finish(
        Record(part={"a": 1}, code={}), result, 1.26, root=tmp_path, file_lists=tmp_path / "files"
    )
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
    assert changed_inputs(record, tmp_path / "moved" / "task") == []


def test_beyond_a_sum_of_bytes_files_count_by_size_and_time(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("espnet3.rundir.records.inputs.CONTENT_IN_ALL_BYTES", 5)
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_text("xyz")
    states = file_states(paths, tmp_path)
    assert [bool(content) for _, _, content in states.values()] == [True, False, False]
    record = Record(part={}, code={}, files=states)
    os.utime(paths[1], (1, 1))
    assert changed_inputs(record, tmp_path) == ["b changed"]


def test_the_files_of_a_corpus_are_listed_once_beside_the_records_of_all_that_read_them(tmp_path: Path):
    audio = [tmp_path / "wav" / f"{number}.wav" for number in range(500)]
    audio[0].parent.mkdir()
    for path in audio:
        path.touch()
    sizes = []
    for number in (10, 500):
        result = StageResult("made", tmp_path, inputs=audio[:number])
        for trial in ("first", "second"):
            record = finish(
                Record(part={}, code={}), result, 1.0, root=tmp_path, file_lists=tmp_path / "files"
            )
            write_record(tmp_path / trial, "train", record)
        sizes.append(record_path(tmp_path / "first", "train").stat().st_size)
    assert sizes[0] - 20 < sizes[1] < sizes[0] + 20, "what status reads does not grow with the corpus"
    assert len(list((tmp_path / "files").iterdir())) == 2
    assert changed_inputs(record, tmp_path) == []
    audio[7].write_text("longer")
    audio[9].unlink()
    assert changed_inputs(record, tmp_path) == ["wav/7.wav changed", "wav/9.wav is gone"]
    assert changed_inputs(record, tmp_path, ignored=[tmp_path / "wav"]) == []
    (tmp_path / record.file_list).unlink()
    assert changed_inputs(record, tmp_path) == [], "nothing is known of them"


CODE = '"""A model."""\nimport torch\n\n\nclass Model:\n    """Wide."""\n\n    width = 8\n'


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (CODE.replace("A model", "The model").replace("Wide", "Very wide"), False),
        (CODE.replace("width = 8", "width = (8)  # as in the paper") + "\n\n# the end\n", False),
        (CODE.replace('    """Wide."""\n\n', ""), False),
        (CODE.replace("width = 8", "width = 16"), True),
        (CODE.replace("width = 8", "width = 8.0"), True),
        (CODE.replace("width = 8", "width = '8'"), True),
        (CODE + "broken(", True),
    ],
)
def test_code_counts_by_what_it_does(tmp_path: Path, other: str, differs: bool):
    path = tmp_path / "model.py"
    path.write_text(CODE)
    before = hash_code([path], tmp_path)
    path.write_text(other)
    changed = changed_code(before, hash_code([path], tmp_path))
    assert changed == (["model.py changed"] if differs else [])
