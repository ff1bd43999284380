"""One owner at a time, whoever dies."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from espnet3.rundir import claim

HOLD = """
import sys
from pathlib import Path
from espnet3.rundir import claim
try:
    with claim.hold(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except claim.HeldError as error:
    print(f"refused: {error}", flush=True)
"""


def holder(directory: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_of_many_at_once_one_wins_and_the_others_say_who_holds_it(tmp_path: Path):
    processes = [holder(tmp_path) for _ in range(10)]
    lines = {process.pid: first_line(process) for process in processes}
    winners = [pid for pid, line in lines.items() if line == "held"]
    assert len(winners) == 1
    for pid, line in lines.items():
        assert pid in winners or f"process {winners[0]}" in line
    for process in processes:
        process.communicate("")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_of_many_at_once_one_takes_over_from_a_dead_owner(tmp_path: Path):
    for _ in range(5):
        first = holder(tmp_path)
        assert first_line(first) == "held"
        first.send_signal(signal.SIGKILL)
        first.wait()
        processes = [holder(tmp_path) for _ in range(8)]
        lines = [first_line(process) for process in processes]
        assert lines.count("held") == 1, lines
        for process in processes:
            process.communicate("")
        assert list(tmp_path.iterdir()) == []


def test_a_task_that_outlives_its_command_keeps_the_claim(tmp_path: Path):
    first = holder(tmp_path)
    assert first_line(first) == "held"
    claim.join(tmp_path, "rank-0")
    first.send_signal(signal.SIGKILL)
    first.wait()
    with (
        pytest.raises(claim.HeldError, match=f"rank-0, process {os.getpid()}") as caught,
        claim.hold(tmp_path),
    ):
        pass
    assert caught.value.orphaned


def test_a_pid_that_belongs_to_another_process_by_now_is_stale(tmp_path: Path):
    (tmp_path / "claim").mkdir()
    owner = {"host": __import__("socket").gethostname(), "pid": os.getpid(), "started": "another boot"}
    (tmp_path / "claim" / "owner.json").write_text(json.dumps(owner))
    with claim.hold(tmp_path):
        assert claim.owner(tmp_path) is not None
    assert claim.owner(tmp_path) is None


def test_an_owner_on_another_host_counts_as_alive(tmp_path: Path):
    (tmp_path / "claim").mkdir()
    owner = {"host": "somewhere-else", "pid": 1, "started": "x"}
    (tmp_path / "claim" / "owner.json").write_text(json.dumps(owner))
    with pytest.raises(claim.HeldError, match="process 1 on somewhere-else"), claim.hold(tmp_path):
        pass
