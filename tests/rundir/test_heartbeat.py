"""A heartbeat is written seldom, is read whole, and never costs the stage its life."""

import json
import threading
import time
from pathlib import Path

import pytest

from espnet3.rundir.heartbeat import Heartbeat, read_heartbeat


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
