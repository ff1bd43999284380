"""Folders whose content is run: private from the start, and refused once others could write to them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from espnet3.errors import UserError
from espnet3.launcher.planning.plan import Job
from espnet3.launcher.start.local import start_local
from espnet3.launcher.start.step import TASK
from espnet3.resources import Resources
from espnet3.rundir.files.private import check_private, make_private
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import Begin, read_attempt, write_begin

SOMEBODY_ELSE = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


def test_a_folder_is_the_users_alone_whatever_the_umask_and_the_folder_above(tmp_path: Path):
    shared = tmp_path / "project"
    shared.mkdir()
    shared.chmod(0o2777)
    before = os.umask(0)
    try:
        make_private(shared / "jobs" / "train-1")
    finally:
        os.umask(before)
    assert (shared / "jobs" / "train-1").stat().st_mode & 0o777 == 0o700
    check_private(shared / "jobs" / "train-1")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_can_write_to_is_refused_with_the_way_out(tmp_path: Path, mode: int):
    tmp_path.chmod(mode)
    with pytest.raises(UserError, match=f"chmod 700 {tmp_path}"):
        check_private(tmp_path)
    tmp_path.chmod(0o755)
    check_private(tmp_path)


def test_a_link_in_its_place_is_refused(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(UserError, match="link"):
        check_private(tmp_path / "link")


@as_root
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path):
    os.chown(tmp_path, SOMEBODY_ELSE, -1)
    with pytest.raises(UserError, match="another user"):
        check_private(tmp_path)


def attempt(directory: Path) -> Path:
    """An attempt whose configuration would be run."""
    begin = Begin("prepare", 1, "local", 1, launched_by=asdict(ProcessName.own()))
    write_begin(directory / "attempts" / "prepare-1", begin)
    config = f"exp_dir: {directory}\nrecipe_dir: {directory}\ndata_dir: {directory}\nprepare: {{}}\n"
    (directory / "attempts" / "prepare-1" / "config.yaml").write_text(config)
    return directory / "attempts" / "prepare-1"


def spoil(folder: Path, how: str) -> None:
    """Let somebody else have a hand in it."""
    if how == "chmod":
        folder.chmod(0o770)
    elif how == "chown":
        os.chown(folder, SOMEBODY_ELSE, -1)
    else:
        folder.rename(folder.with_name("moved"))
        folder.symlink_to("moved")


@pytest.mark.parametrize("how", ["chmod", "link", pytest.param("chown", marks=as_root)])
@pytest.mark.parametrize("program", [TASK, ["espnet3.launcher.batch.run_job"]])
def test_neither_a_task_nor_a_job_starts_from_a_folder_that_others_could_fill(
    tmp_path: Path, how: str, program: Sequence[str]
):
    folder = attempt(tmp_path)
    spoil(folder, how)
    step = {"PROCID": "0", "STEP_NUM_TASKS": "1", "LOCALID": "0", "NODEID": "0", "STEP_NUM_NODES": "1"}
    environment = {
        **os.environ,
        **{f"SLURM_{key}": value for key, value in step.items()},
        "SLURM_JOB_ID": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", *program, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = (done.stdout + done.stderr).strip()
    assert done.returncode == 1
    assert len(said.splitlines()) == 1 and str(folder) in said
    assert not (tmp_path / "logs").exists()


def test_nothing_is_started_here_from_a_folder_that_others_could_fill(tmp_path: Path):
    folder = attempt(tmp_path)
    folder.chmod(0o770)
    described = read_attempt(folder)
    job = Job("prepare", "local", Resources(), str(tmp_path))
    with pytest.raises(UserError, match="chmod 700"):
        start_local(job, tmp_path, folder, described.begin)
    assert not list(folder.glob("early-*"))


def test_a_shared_project_space_is_no_hindrance(small_recipe: Path, run):
    (small_recipe / "exp" / "default").mkdir(parents=True)
    for folder in (small_recipe, small_recipe / "exp", small_recipe / "exp" / "default"):
        folder.chmod(0o2777)
    code, output = run(small_recipe, "--stage", "0", "--stop-stage", "0")
    assert code == 0, output
    folder = small_recipe / "exp" / "default" / "attempts" / "prepare-1"
    assert folder.stat().st_mode & 0o777 == 0o700
