"""The bench of launching runs on a cluster that is there."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_ranks")]

BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench" / "launch.py"


def test_the_bench_tells_when_a_job_was_accepted_and_made_its_first_step_twice(cluster):
    command = [sys.executable, str(BENCH), "--rounds", "1", "--ways", "espnet3"]
    done = subprocess.run(
        command, env=cluster.environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    *_, header, row = done.stdout.splitlines()
    assert header.split() == ["accepted", "step", "again", "requeued", "overhead"]
    name, *seconds = row.split()
    assert name == "espnet3"
    accepted, step, again, requeued = map(float, seconds)
    assert accepted > 0 and step > 0 and 0 < again < requeued
