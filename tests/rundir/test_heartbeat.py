"""A heartbeat is written seldom, is read whole, and never costs the stage its life."""

import json
import threading
import time
from pathlib import Path

import pytest

from espnet3.rundir.heartbeat import Heartbeat, read_heartbeat
from espnet3.rundir.time_spent import CHECKPOINT, DATA, TRAINING, TimeSpent


def test_it_is_written_when_it_is_due_or_at_once_when_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    path = tmp_path / "beat.json"
    beat = Heartbeat(path, every_s=2.0)
    seen = []
    for now, force in ((100.0, False), (101.9, False), (102.0, False), (103.0, True), (104.9, False)):
        assert beat.due() == (now in (100.0, 102.0))
        beat.update(force=force, done=now, **({"unit": "batch"} if now == 101.9 else {}))
        seen.append((read_heartbeat(path) or {})["done"])
    assert seen == [100.0, 100.0, 102.0, 103.0, 103.0]
    assert (read_heartbeat(path) or {})["unit"] == "batch", "a field keeps its value"
    assert Heartbeat().due() is False


def test_a_reader_never_finds_half_of_one(tmp_path: Path):
    path = tmp_path / "beat.json"
    beat, done = Heartbeat(path, every_s=0.0), threading.Event()
    beat.update(metrics={})
    torn = []

    def read():
        while not done.is_set():
            try:
                json.loads(path.read_text())
            except (OSError, ValueError) as error:
                torn.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        beat.update(done=number, metrics={f"key {n}": number for n in range(number)})
    done.set()
    reader.join()
    assert torn == []


def test_a_full_disk_leaves_the_last_one_and_raises_nothing(tmp_path: Path):
    path = tmp_path / "beat.json"
    beat = Heartbeat(path, every_s=0.0)
    beat.update(done=1)
    (tmp_path / ".beat.json.tmp").symlink_to("/dev/full")
    beat.update(done=2)
    assert (read_heartbeat(path) or {})["done"] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["[]", "3", "null", "[" * 100_000, '{"done": "x", "at": NaN, "epoch": {}}'])
def test_one_of_another_shape_says_nothing(tmp_path: Path, text: str):
    (tmp_path / "beat.json").write_text(text)
    assert not read_heartbeat(tmp_path / "beat.json")


def test_time_is_counted_by_kind_and_all_of_it():
    began = time.perf_counter()
    spent = TimeSpent()
    for kind in (TRAINING, DATA, CHECKPOINT):
        spent.switch(kind)
        time.sleep(0.01)
    before = spent.switch(DATA)
    assert before == CHECKPOINT and spent.kind == DATA
    sums = spent.sums()
    assert sum(sums.values()) == pytest.approx(time.perf_counter() - began, abs=0.005)
    assert all(sums[kind] >= 0.01 for kind in (TRAINING, DATA, CHECKPOINT)) and "validation" not in sums


def test_a_heartbeat_says_what_time_was_spent_on_and_what_is_saved_which_makes_no_other_late(tmp_path):
    heartbeat = Heartbeat(tmp_path / "beat.json", every_s=3600.0)
    heartbeat.spent.switch(TRAINING)
    time.sleep(0.01)
    heartbeat.saved()
    time.sleep(0.01)
    assert heartbeat.due(), "the next is due as if there had been no checkpoint"
    heartbeat.update(done=1)
    heartbeat.spent.switch(DATA)
    heartbeat.update(force=True, done=2)
    read = read_heartbeat(tmp_path / "beat.json")
    assert sum(read["spent"].values()) > sum(read["saved"].values()) > 0
    assert read["longest_s"] >= 0 and read["done"] == 2
    Heartbeat().saved()  # without a file it writes nothing
