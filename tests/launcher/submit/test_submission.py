"""Whether the queue has room for the jobs of one command, which limits count by account and by QOS."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from espnet3.launcher.submit.request import JobRequest
from espnet3.launcher.submit.submission import NoRoom, check_room
from espnet3.resources import Resources
from espnet3.slurm import retry

SBATCH = """#!/bin/bash
for word; do script=$word; done
last=$(sed -n 's/^#SBATCH --array=0-//p' "$script")
if grep -q -- "{option}" "$script" && [ $(( ${{last:-0}} + 1 )) -gt {limit} ]; then
    echo "sbatch: error: {name}" >&2
    echo "sbatch: error: Batch job submission failed: Job violates policy (job submit limit)" >&2
    exit 1
fi
"""
"""sbatch of an empty queue, in which jobs with this option may be so many."""


def requests(folder: Path, *of: Sequence[str]) -> list[JobRequest]:
    return [
        JobRequest(Resources(account=account, qos=qos), folder, name="x", token="y", output=folder / "log")
        for account, qos in of
    ]


@pytest.mark.parametrize(
    ("option", "limit", "name", "jobs", "is_refused"),
    [
        # One account, two QOS: the account counts both, a QOS its own.
        ("account=a", 2, "AssocMaxSubmitJobLimit", [("a", "x"), ("a", "y"), ("a", "y")], True),
        ("qos=y", 2, "QOSMaxSubmitJobPerUserLimit", [("a", "x"), ("a", "y"), ("a", "y")], False),
        ("qos=y", 1, "QOSMaxSubmitJobPerUserLimit", [("a", "x"), ("a", "y"), ("a", "y")], True),
        # One QOS, two accounts.
        ("qos=x", 2, "QOSMaxSubmitJobPerUserLimit", [("a", "x"), ("b", "x"), ("b", "x")], True),
        ("account=a", 1, "AssocMaxSubmitJobLimit", [("a", "x"), ("b", "x"), ("b", "x")], False),
        ("account=b", 1, "AssocMaxSubmitJobLimit", [("a", "x"), ("b", "x"), ("b", "x")], True),
    ],
)
def test_a_chain_is_tested_against_each_limit_with_the_jobs_that_it_counts(
    tmp_path: Path, monkeypatch, option: str, limit: int, name: str, jobs, is_refused: bool
):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(SBATCH.format(option=option, limit=limit, name=name))
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    # A test before this one may have seen Slurm away, which is waited for.
    monkeypatch.setattr(retry, "_last_away", None)
    if is_refused:
        with pytest.raises(NoRoom, match=f"jobs of one command .*: {name}"):
            check_room(requests(tmp_path, *jobs))
    else:
        check_room(requests(tmp_path, *jobs))
