"""The benches of launching and of recovering run on a cluster that is there."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_ranks")]

BENCHES = Path(__file__).resolve().parents[2] / "tools" / "bench"


def lines(cluster, bench: str, *arguments: str) -> list[str]:
    """What a bench prints."""
    command = [sys.executable, str(BENCHES / bench), *arguments]
    done = subprocess.run(
        command, env=cluster.environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_bench_tells_when_a_job_was_accepted_and_made_its_first_step_twice(cluster):
    *_, header, row = lines(cluster, "launch.py", "--rounds", "1", "--ways", "espnet3")
    assert header.split() == ["accepted", "step", "again", "requeued", "overhead"]
    name, *seconds = row.split()
    assert name == "espnet3"
    accepted, step, again, requeued = map(float, seconds)
    assert accepted > 0 and step > 0 and 0 < again < requeued


def test_the_ledger_of_a_job_that_was_killed_and_requeued_adds_up_to_the_time_that_sacct_has(cluster):
    faults = ("--kills", "1", "--requeues", "1", "--every", "3", "--checkpoint-every", "1")
    shown = lines(cluster, "goodput.py", "--nodes", "1", *faults)
    (line,) = (line for line in shown if line.startswith("on nodes: "))
    held, known, _ = (float(word) for word in line.split() if word[0].isdigit())
    assert abs(held - known) <= 0.01 * known + 2 * 1.0, "sacct has whole seconds, of two starts"
    table = {line.split()[0]: line.split()[1:] for line in shown if line}
    assert float(table["lost"][0]) > 0 and float(table["queued"][0]) > 0
    assert table["train-1"][0] == table["train-2"][0] != table["train-3"][0], "the first two in one start"


def test_the_bench_tells_how_long_a_training_stands_still_after_a_killed_rank(cluster):
    shown = lines(cluster, "recovery.py", "--nodes", "1", "--kills", "2", "--requeues", "0")
    assert shown[2] == "Restarts=0" and shown[-2].split() == ["times", "median", "largest"]
    way, times, median, largest = shown[-1].split()
    assert (way, times) == ("killed", "2") and 0 < float(median) <= float(largest)
