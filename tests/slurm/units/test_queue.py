"""Slurm's commands as they are called, and jobs as they are found again."""

import subprocess
import sys
from pathlib import Path

import pytest

from espnet3.slurm.queue import SlurmJob, find_job
from espnet3.slurm.scontrol import indices

CALLS = """
import sys
from espnet3.slurm.queue import ask
ask(["sh", "-c", 'echo $$ > "$0"; exec sleep 600', sys.argv[1]], dies_with_us=sys.argv[2] == "yes")
"""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_submission_does_not_outlive_the_command_that_makes_it(tmp_path: Path, until):
    noted = tmp_path / "pid"
    command = subprocess.Popen([sys.executable, "-c", CALLS, str(noted), "yes"])
    until(lambda: noted.exists() and noted.read_text().strip(), "the child")
    pid = int(noted.read_text())
    assert lives(pid)
    command.kill()
    command.wait()
    until(lambda: not lives(pid), "the child's end")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", [7]), ("0-3,8%2", [0, 1, 2, 3, 8]), ("0-4:2", [0, 2, 4]), ("1,3-4%1", [1, 3, 4]), ("", [])],
)
def test_the_elements_of_an_array_that_scontrol_shows(text: str, expected: list[int]):
    assert indices(text) == expected


@pytest.mark.parametrize(
    ("job_id", "token", "found"),
    [
        ("7", "espnet3:a-0", "7"),
        ("", "espnet3:a-0", "7"),
        ("", "espnet3:b-0", None),
        ("8", "espnet3:a-0", "8"),
        ("9", "espnet3:a-0", None),
        ("7", "espnet3:b-0", None),
        ("7", "", "7"),
        ("", "", None),
    ],
)
def test_a_job_is_found_by_its_id_or_by_its_token(job_id: str, token: str, found: str | None):
    jobs = [
        SlurmJob("7", "RUNNING", comment="espnet3:a-0"),
        SlurmJob("8", "RUNNING", comment="the site's"),
        SlurmJob("9", "RUNNING", comment="espnet3:c-0"),
        SlurmJob("10", "RUNNING"),
    ]
    job = find_job(jobs, job_id, token)
    assert (job.job_id if job else None) == found
