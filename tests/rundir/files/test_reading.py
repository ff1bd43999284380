"""What is missing is told apart from what can't be read."""

import errno
import os
from pathlib import Path

import pytest

from espnet3.errors import UserError
from espnet3.rundir.files import reading
from espnet3.rundir.files.reading import files_in, read_late, read_text


def test_a_missing_file_or_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "a")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "file" / "a")
    assert files_in(tmp_path / "a") == files_in(tmp_path / "file") == []


def test_files_are_in_order(tmp_path: Path):
    for name in ("b-2", "a-1", "c"):
        (tmp_path / name).touch()
    assert [path.name for path in files_in(tmp_path, "*-*")] == ["a-1", "b-2"]


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def iterdir(path: Path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(UserError, match=r"can't read .*: Permission denied"):
        files_in(tmp_path)


def test_a_file_that_was_replaced_on_nfs_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a").write_text("new")
    read, failures = reading._content, [errno.ESTALE]

    def content(path: Path) -> bytes:
        if failures:
            raise OSError(failures.pop(), "Stale file handle", str(path))
        return read(path)

    monkeypatch.setattr(reading, "_content", content)
    assert read_text(tmp_path / "a") == "new"


def test_a_fifo_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "run.json")
    assert read_text(tmp_path / "run.json") == ""


def test_a_file_that_is_seen_late_is_waited_for_and_one_that_never_comes_is_missing(tmp_path: Path):
    answers = iter([None, "", "there"])
    assert read_late(lambda: next(answers), tmp_path) == "there"
    assert read_late(lambda: None, tmp_path / "nothing", within_s=0.0) is None
