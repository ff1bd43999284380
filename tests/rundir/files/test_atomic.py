"""Files are the old one or the new one."""

import errno
import json
import os
from pathlib import Path

import pytest

from espnet3.rundir.files.atomic import remove_torn, replace_file, write_json, write_text


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    target = tmp_path / "state.json"
    write_text(target, "old")
    with pytest.raises(KeyboardInterrupt), replace_file(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path):
    target = tmp_path / "state"
    write_text(target, "old")
    with pytest.raises(OSError, match="No space"), replace_file(target) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_json_is_replaced_whole(tmp_path: Path):
    target = tmp_path / "state.json"
    write_json(target, {"a": 1})
    write_json(target, {"b": [1, 2]})
    assert target.read_text() == '{\n  "b": [\n    1,\n    2\n  ]\n}\n'


def test_what_a_kill_has_torn_is_removed(tmp_path: Path):
    for name in (".epoch=1-step=1.ckpt.77.tmp", ".best.json.77.tmp", "epoch=1-step=1.ckpt"):
        (tmp_path / name).touch()
    remove_torn(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch=1-step=1.ckpt"]


def test_a_full_disk_names_the_file_and_leaves_nothing_of_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as of a write, it names no file

    path = tmp_path / "record.json"
    write_json(path, {"old": 1})
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"No space left on device: .*/record\.json") as caught:
        write_json(path, {"new": 1})
    assert caught.value.filename == str(path)
    assert json.loads(path.read_text()) == {"old": 1} and list(tmp_path.iterdir()) == [path]
