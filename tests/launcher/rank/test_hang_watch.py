"""The watcher of a rank, with real processes that stand still in different ways."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from espnet3.launcher.rank.watch.stall_limits import StallLimits
from espnet3.outcomes.hang import UNHURRIED_S, find_hang
from espnet3.rundir.records.stall import Stall, read_stalls

RANK = """
import ctypes, os, signal, subprocess, sys, time
from pathlib import Path
from espnet3.launcher.rank.watch.hang_watch import watch_for_hangs
from espnet3.rundir.watch.activity import Activity

kind, folder = sys.argv[1], Path(sys.argv[2])
activity = Activity()
tell = watch_for_hangs(activity, folder, 0, "node1", 1.0)
tell(lambda: (7, 6))
for batch in range(1, 4):
    activity.enter("training", 1, batch)
print("moving", flush=True)

def forward():
    if kind == "loop":
        while True:
            pass
    if kind == "sleep":
        time.sleep(1e6)
    if kind == "moves":
        while True:
            activity.enter("training", 1, 4)
            time.sleep(0.01)
    if kind == "worker":
        if not os.fork():
            serve_data()
        os.wait()
    lock, library = (ctypes.c_byte * 64)(), (ctypes.PyDLL if kind == "gil" else ctypes.CDLL)(None)
    library.pthread_mutex_lock(lock)
    library.pthread_mutex_lock(lock)

def serve_data():
    time.sleep(1e6)

forward()
"""
Until = Callable[[Callable[[], object], str], None]


class Rank:
    """A process with a watcher."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        script = folder / "rank.py"
        script.write_text(RANK)
        command = [sys.executable, str(script), kind, str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "moving\n"

    def stall(self) -> Stall | None:
        """What its watcher says of it."""
        return next(iter(read_stalls(self.folder)), None)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Rank]]:
    ranks: list[Rank] = []

    def begin(kind: str) -> Rank:
        ranks.append(Rank(tmp_path, kind))
        return ranks[-1]

    yield begin
    for rank in ranks:
        with suppress(ProcessLookupError):
            os.killpg(rank.process.pid, signal.SIGKILL)
        rank.process.communicate()


@pytest.mark.parametrize("kind", ["loop", "sleep", "lock", "gil"])
def test_a_rank_that_does_not_move_is_described_with_its_stack_whatever_it_hangs_in(
    start, kind: str, until: Until
):
    rank = start(kind)
    until(rank.stall, "its description")
    stall = rank.stall()
    assert (stall.rank, stall.node, stall.epoch, stall.batch) == (0, "node1", 1, 3)
    assert stall.own.state in ("R", "S") and "in forward" in stall.own.stacks
    counts = (None, None) if kind == "gil" else (7, 6)  # no Python code can answer
    assert (stall.started, stall.completed) == counts
    hang = find_hang([stall], {})
    assert hang is not None and hang.line.startswith("rank 0 on node1 has been in the forward pass (rank.py:")


def test_a_stopped_rank_is_told_from_one_that_hangs_and_forgotten_when_it_moves(start, until: Until):
    rank = start("moves")
    os.kill(rank.process.pid, signal.SIGSTOP)
    until(rank.stall, "its description")
    assert rank.stall().own.state == "T"
    assert "has been stopped (SIGSTOP)" in find_hang([rank.stall()], {}).line
    os.kill(rank.process.pid, signal.SIGCONT)
    until(lambda: rank.stall() is None, "the description to be taken back")


def test_the_stack_of_a_process_that_a_rank_has_started_is_there_too(start, until: Until):
    rank = start("worker")
    until(rank.stall, "its description")
    (worker,) = rank.stall().workers
    assert "in serve_data" in worker.stacks


def test_a_pause_of_a_rank_and_its_watcher_is_none_of_its_own_time(start, until: Until):
    rank = start("moves")
    for _ in range(3):  # each longer than the timeout
        os.killpg(rank.process.pid, signal.SIGSTOP)
        paused = subprocess.run(["sleep", "1.5"], check=True)
        assert paused.returncode == 0
        os.killpg(rank.process.pid, signal.SIGCONT)
        assert rank.stall() is None
    assert rank.stall() is None


def test_the_watcher_ends_with_its_rank(start, until: Until):
    rank = start("sleep")
    children = Path(f"/proc/{rank.process.pid}/task/{rank.process.pid}/children")
    (watcher,) = map(int, children.read_text().split())
    rank.process.kill()
    rank.process.wait()
    until(lambda: not Path(f"/proc/{watcher}").exists(), "the end of the watcher")


def test_what_was_never_seen_to_end_may_take_half_an_hour():
    given, auto = StallLimits(10.0), StallLimits(None)
    for limits in (given, auto):
        assert limits.of("validation start") == UNHURRIED_S
        limits.ended("start", 20.0)
        assert limits.of("training") == (10.0 if limits is given else 200.0)
        assert limits.of("epoch start") == (60.0 if limits is given else 200.0)
        limits.ended("training", 8.0)
        limits.ended("training", 0.5)
        limits.ended("validation end", 30.0)
    assert (given.of("training"), auto.of("training")) == (10.0, 80.0)
    assert (given.of("validation end"), auto.of("validation end")) == (90.0, 300.0)
    auto.ended("epoch start", 0.1)
    assert auto.of("epoch start") == 60.0
