"""Directories whose owner died where nobody can look."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from espnet3.errors import UserError
from espnet3.launcher.planning.claims import check_free
from espnet3.launcher.release import release
from espnet3.rundir import claim
from espnet3.rundir.process import ProcessName

ELSEWHERE = ProcessName("login2", 7, "boot-1")


def hold(directory: Path, process: ProcessName = ELSEWHERE) -> Path:
    """A claim of `process` on `directory`."""
    (directory / "claim").mkdir(parents=True)
    (directory / "claim" / "owner.json").write_text(json.dumps(asdict(process)))
    return directory


def beat(directory: Path, *, seconds_ago: float) -> None:
    path = directory / "attempts" / "train-1" / "heartbeat-0.json"
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (time.time() - seconds_ago,) * 2)


def test_the_message_says_how_to_free_it_and_a_no_changes_nothing(tmp_path: Path):
    hold(tmp_path)
    beat(tmp_path, seconds_ago=3 * 3600 + 100)
    with pytest.raises(UserError, match=f"process 7 on login2.*`espnet3 release {tmp_path}` frees it"):
        check_free(tmp_path)
    asked: list[str] = []
    said: list[str] = []
    assert not release([tmp_path], said.append, lambda question: bool(asked.append(question)))
    (question,) = asked
    assert "is held by process 7 on login2 since" in question and "last heartbeat 3 hours ago" in question
    assert claim.owner(tmp_path) == ELSEWHERE
    assert release([tmp_path], said.append, lambda question: True)
    check_free(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attempts"]


def test_a_sweep_is_freed_with_its_trials(tmp_path: Path):
    places = [tmp_path, tmp_path / "trials" / "a", tmp_path / "trials" / "b" / "jobs", tmp_path / "search"]
    for place in places:
        hold(place)
    assert release([tmp_path], lambda line: None, lambda question: True)
    assert [claim.owner(place) for place in places] == [None] * 4


@pytest.mark.parametrize("alive", ["here", "heartbeat"])
def test_what_lives_is_never_touched(tmp_path: Path, alive: str):
    hold(tmp_path, ProcessName.own() if alive == "here" else ELSEWHERE)
    if alive == "heartbeat":
        beat(tmp_path, seconds_ago=5)
    with pytest.raises(UserError, match="alive"):
        release([tmp_path], lambda line: None, lambda question: True)
    assert claim.owner(tmp_path) is not None


def test_a_fresh_heartbeat_may_be_of_a_dead_process_and_the_message_says_when_to_ask_again(tmp_path: Path):
    hold(tmp_path)
    beat(tmp_path, seconds_ago=79)
    with pytest.raises(UserError, match=r"so it may be alive: .* the command again in \d+ seconds"):
        release([tmp_path], lambda line: None, lambda question: True)


def test_a_directory_that_another_took_meanwhile_stays_held(tmp_path: Path):
    hold(tmp_path)

    def taken_meanwhile(question: str) -> bool:
        (tmp_path / "claim" / "owner.json").write_text(json.dumps(asdict(ProcessName.own())))
        return True

    release([tmp_path], lambda line: None, taken_meanwhile)
    assert claim.owner(tmp_path) == ProcessName.own()


def test_nothing_to_release_is_no_mistake_and_a_missing_directory_is_one(tmp_path: Path):
    said: list[str] = []
    assert release([tmp_path], said.append, lambda question: True)
    assert "nothing to release" in said[0]
    with pytest.raises(UserError, match="no such directory"):
        release([tmp_path / "none"], said.append, lambda question: True)
