"""`espnet3 cancel` and `espnet3 resume` of runs that have no jobs of their own in Slurm."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from espnet3.__main__ import main
from espnet3.rundir.process import ProcessName

WAITS = ("--stop-stage", "0", "prepare.mode=wait")


@pytest.fixture
def waiting(small_recipe: Path, start, until, monkeypatch, tmp_path: Path):
    """A command whose stage 0 waits, and its run directory; there is no Slurm."""
    command = start(small_recipe, *WAITS)
    until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    monkeypatch.setenv("PATH", str(tmp_path))
    return command, small_recipe / "exp" / "default"


def claimed(exp_dir: Path, owner: ProcessName) -> Path:
    """A run directory that a process holds."""
    (exp_dir / "claim").mkdir(parents=True)
    (exp_dir / "claim" / "owner.json").write_text(json.dumps(asdict(owner)))
    return exp_dir


def test_a_command_on_this_machine_is_asked_to_stop_and_saves(waiting, capsys):
    command, exp_dir = waiting
    assert main(["status", str(exp_dir)]) == 0
    assert "prepare  running" in capsys.readouterr().out
    following = subprocess.Popen(
        [sys.executable, "-m", "espnet3", "logs", "-f", str(exp_dir)], stdout=subprocess.PIPE, text=True
    )
    assert following.stdout is not None and any("making 3" in line for line in following.stdout)
    assert main(["cancel", "--wait", str(exp_dir)]) == 0
    assert f"asked process {command.process.pid}" in capsys.readouterr().out
    assert command.finish()[0] == 75
    following.communicate(timeout=60)
    assert following.returncode == 75
    assert (exp_dir.parents[1] / "data" / "saved").exists()
    assert main(["status", str(exp_dir)]) == 0
    assert "stopped (SIGTERM)" in capsys.readouterr().out
    assert main(["cancel", str(exp_dir)]) == 0
    assert "nothing to cancel" in capsys.readouterr().out


@pytest.mark.slow
def test_logs_follow_a_command_through_its_stages(small_recipe: Path, start, until):
    command = start(small_recipe, "--stop-stage", "1", "prepare.mode=wait")
    until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    following = subprocess.Popen(
        [sys.executable, "-m", "espnet3", "logs", "-f", str(small_recipe / "exp" / "default")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None and any("making 3" in line for line in following.stdout)
    (small_recipe / "data" / "go").touch()
    rest, _ = following.communicate(timeout=120)
    assert command.finish()[0] == following.returncode == 1
    assert "stage 1 collect_stats: failed (rank 0: dataset._target_" in rest


def test_resume_of_a_run_without_jobs_names_the_command_that_continues_it(waiting, capsys):
    command, exp_dir = waiting
    assert main(["resume", str(exp_dir)]) == 2
    assert f"is in use by process {command.process.pid}" in capsys.readouterr().err
    command.process.terminate()
    command.finish()
    assert main(["resume", str(exp_dir)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"espnet3 run --recipe {exp_dir.parents[1]} --stop-stage 0 prepare.mode=wait")


def test_a_command_elsewhere_is_named_with_what_ends_it(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    elsewhere = claimed(tmp_path / "a", ProcessName("ws2", 5, "boot-1"))
    allocation = claimed(tmp_path / "b", ProcessName("node1", 6, "boot-1", "12.0"))
    assert main(["cancel", "--wait", str(elsewhere), str(allocation)]) == 0
    said = capsys.readouterr().out
    assert "is run by process 5 on ws2; cancel it on ws2" in said
    assert "is run by process 6 on node1 of Slurm job 12; `scancel 12` ends it" in said
    assert "nothing to cancel" not in said
