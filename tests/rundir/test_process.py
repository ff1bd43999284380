"""Whether a process still lives, asked from its own host and from others."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from espnet3.rundir.process import ProcessName


def elsewhere(slurm_job: str) -> ProcessName:
    return ProcessName("another-host", 1, "x-1", slurm_job)


def test_a_process_of_this_host_is_looked_up():
    process = subprocess.Popen(["sleep", "600"])
    name = ProcessName.of(process.pid)
    assert name.is_alive() and ProcessName.own().is_alive()
    process.kill()
    process.wait()
    assert not name.is_alive()
    assert not ProcessName(name.host, os.getpid(), "another start").is_alive()


def test_one_of_another_host_counts_as_alive_without_a_slurm_job():
    assert elsewhere("").is_alive()


def test_an_earlier_start_of_the_job_we_are_in_is_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not elsewhere("7.0").is_alive()
    assert elsewhere("7.1").is_alive()


@pytest.mark.parametrize(
    ("answer", "alive"),
    [
        ("echo 'JobId=8 JobState=RUNNING Restarts=0'", True),
        ("echo 'JobId=8 JobState=RUNNING Restarts=2'", False),
        ("echo 'JobId=8 JobState=PENDING Restarts=0'", False),
        ("echo 'JobId=8 JobState=COMPLETED Restarts=0'", False),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", False),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", True),  # nobody knows: it may live
    ],
)
def test_slurm_says_whether_another_job_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, alive: bool
):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\n{answer}\n")
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert elsewhere("8.0").is_alive() == alive
