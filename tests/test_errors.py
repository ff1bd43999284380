"""What is said of a path that is not what it should be."""

import os
import socket
from pathlib import Path

import pytest

from espnet3.errors import directory_problem, file_problem


def test_what_is_no_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    Path("file").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert file_problem("socket") == "is a socket, not a file"
    assert file_problem(tmp_path) == "is a folder, not a file"
    assert file_problem("pipe") == "is a FIFO (a pipe), not a file"
    assert file_problem(os.devnull) == "is a device, not a file"
    assert file_problem("loop") == "is a link to what is not there, loop"
    assert file_problem("file") == "" and directory_problem("file") == "is no directory"
    assert "there is no such file" in file_problem("x" * 5000)
    assert "there is no such file" in file_problem("a\0b")


def test_a_mistyped_path_leads_to_the_one_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp" / "sweeps" / "default").mkdir(parents=True)
    assert directory_problem(Path("exp/sweeps")) == ""
    assert directory_problem("exp/sweeps/defalt").endswith("directory; did you mean exp/sweeps/default?")
    assert directory_problem("epx/sweeps/default").endswith("; did you mean exp/sweeps/default?")
    assert directory_problem("nothing/like/it") == "there is no such directory"
