"""Folders in which nothing can be made are known before anything is tried, as root, too."""

import os
from pathlib import Path

import pytest

from espnet3.rundir.files.writable import folder_problem


@pytest.mark.parametrize("folder", ["/proc/foo", "/proc/self/foo/bar", "/sys/kernel/foo"])
def test_file_systems_of_the_kernel_take_no_folder(folder: str):
    problem = folder_problem(Path(folder))
    assert "is a file system of the kernel (" in problem and not Path(folder).exists()


def test_a_link_is_where_it_leads_to(tmp_path: Path):
    (tmp_path / "link").symlink_to("/proc/self")
    assert "(proc)" in folder_problem(tmp_path / "link" / "foo")


def test_a_folder_that_can_be_made_is_not_made(tmp_path: Path):
    before = tmp_path.stat().st_mtime_ns
    assert folder_problem(tmp_path / "a" / "b") == "" == folder_problem(tmp_path)
    assert not list(tmp_path.iterdir()) and tmp_path.stat().st_mtime_ns == before


def test_a_file_and_a_folder_of_others_are_named(tmp_path: Path):
    (tmp_path / "file").touch()
    assert folder_problem(tmp_path / "file" / "a") == f"{tmp_path / 'file'} is a file"
    if os.geteuid():
        tmp_path.chmod(0o500)
        assert folder_problem(tmp_path / "a") == f"{tmp_path}: Permission denied"
