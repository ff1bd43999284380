"""Dataclasses in JSON files: readable by versions that know less or more of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from espnet3.errors import UserError
from espnet3.rundir.files.json_file import FORMAT, read_dataclass, write_dataclass
from espnet3.rundir.records.attempt import read_attempt


@dataclass(frozen=True)
class Job:
    name: str
    tries: int = 0


def test_what_was_written_is_read_and_carries_the_format(tmp_path: Path):
    write_dataclass(tmp_path / "job.json", Job("train-1", 2))
    assert json.loads((tmp_path / "job.json").read_text()) == {
        "format": FORMAT,
        "name": "train-1",
        "tries": 2,
    }
    assert read_dataclass(Job, tmp_path / "job.json") == Job("train-1", 2)


def test_unknown_keys_and_a_missing_format_do_not_matter(tmp_path: Path):
    (tmp_path / "job.json").write_text('{"name": "train-1", "colour": "red"}')
    assert read_dataclass(Job, tmp_path / "job.json") == Job("train-1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "{}",
        '{"name": "a", "format": "new"}',
        "\x00",
        '{"name": 3}',
        '{"name": "a", "tries": "many"}',
        '{"name": "a", "tries": true}',
        "[" * 100_000,
    ],
)
def test_what_is_no_such_file_is_none(tmp_path: Path, text: str):
    assert read_dataclass(Job, tmp_path / "job.json") is None
    (tmp_path / "job.json").write_text(text)
    assert read_dataclass(Job, tmp_path / "job.json") is None


def test_a_newer_format_is_refused_even_where_nothing_else_is_known(tmp_path: Path):
    (tmp_path / "job.json").write_text(f'{{"format": {FORMAT + 1}, "jobs": []}}')
    with pytest.raises(UserError, match=rf"job.json has format {FORMAT + 1}.*up to {FORMAT}: update espnet3"):
        read_dataclass(Job, tmp_path / "job.json")


def test_a_file_that_cannot_be_read_is_not_taken_for_missing(tmp_path: Path):
    (tmp_path / "job.json").symlink_to("/proc/self/mem")  # opens, and reading fails with EIO
    with pytest.raises(UserError, match=r"can't read .*job.json: Input/output error"):
        read_dataclass(Job, tmp_path / "job.json")


PROCESS = {"host": "h", "pid": 1, "started": "s"}
BEGIN = {"stage": "train", "number": 1, "launcher": "local", "world_size": 1, "launched_by": PROCESS}


@pytest.mark.parametrize(
    "fields",
    [
        *(
            {"launched_by": wrong}
            for wrong in (None, [], {}, {**PROCESS, "pid": "1"}, {"host": "h", "pid": 1})
        ),
        *({"stage": wrong} for wrong in ("nothing", "a\0b", "\ud800")),
        *({"started_at": wrong} for wrong in (float("nan"), float("inf"), 10**400)),
        {"nodes": [["n"]]},
    ],
)
def test_a_record_whose_content_is_of_another_kind_is_damaged(tmp_path: Path, fields: dict[str, Any]):
    (tmp_path / "begin.json").write_text(json.dumps(BEGIN))
    assert read_attempt(tmp_path) is not None
    (tmp_path / "begin.json").write_text(json.dumps({**BEGIN, **fields}))
    assert read_attempt(tmp_path) is None
