import os

import pytest

from espnet3.components.checkpoint.folder import (
    REJECTED,
    Position,
    checkpoint_name,
    link_last,
    newest_first,
    part_name,
    position_of,
    superfluous,
)
from espnet3.components.checkpoint.ranking import LAST, RANKING
from espnet3.errors import UserError
from espnet3.rundir.layout import is_of_training


@pytest.mark.parametrize("position", [Position(0, 3), Position(3, 0), Position(12, 345)])
def test_a_name_says_the_position(position):
    name = checkpoint_name(position, 120)
    assert position_of(name) == position_of(part_name(name, 2)) == position


def test_the_files_of_a_training_are_told_from_others_by_their_names():
    name = checkpoint_name(Position(3, 7), 120)
    for ours in (name, checkpoint_name(Position(3), 120), part_name(name, 2), LAST, RANKING, name + REJECTED):
        assert is_of_training(ours)
    for other in ("averaged.ckpt", "epoch=3.ckpt", "last.ckpt.bak", "notes.txt"):
        assert not is_of_training(other)


def test_other_files_have_no_position():
    for name in (
        "last.ckpt",
        "best.json",
        "mine.ckpt",
        "epoch=1-step=2.ckpt.rejected",
        ".epoch=1-step=2.tmp",
    ):
        assert position_of(name) is None


def test_the_newest_comes_first_by_its_position_not_by_its_time(tmp_path):
    names = ["epoch=9-step=90.ckpt", "epoch=10-step=100.ckpt", "epoch=9-batch=4-step=94.ckpt"]
    for name in names:
        (tmp_path / name).touch()
    link_last(tmp_path / names[1])
    assert [path.name for path in newest_first(tmp_path)] == [names[1], names[2], names[0]]


def test_a_copied_last_counts_by_its_time(tmp_path):
    named, last = tmp_path / "epoch=9-step=90.ckpt", tmp_path / "last.ckpt"
    for path in (named, last):
        path.touch()
    os.utime(named, ns=(0, 10))
    for time, first in ((20, last), (5, named)):
        os.utime(last, ns=(0, time))
        assert newest_first(tmp_path)[0] == first
        assert len(newest_first(tmp_path)) == 2


def test_last_is_linked_or_copied(tmp_path, monkeypatch):
    first, second = tmp_path / "epoch=1-step=1.ckpt", tmp_path / "epoch=2-step=2.ckpt"
    for path in (first, second):
        path.write_text(path.name)
    link_last(first)
    assert (tmp_path / "last.ckpt").samefile(first)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError))
    link_last(second)
    assert (tmp_path / "last.ckpt").read_text() == second.name and first.read_text() == first.name


def test_neither_the_newest_nor_the_best_may_go_and_parts_go_with_theirs():
    names = [checkpoint_name(Position(epoch, batch), 1) for epoch in range(3) for batch in (0, 1)]
    names += [part_name(name, rank) for name in names for rank in (1, 2)]
    others = ["last.ckpt", "best.json", "mine.ckpt", "epoch=0-step=1.ckpt.rejected"]
    gone = superfluous([*names, *others], keep_last=2, best=["epoch=0-step=1.ckpt"])
    kept = set(names) - set(gone)
    expected = ["epoch=0-step=1", "epoch=2-step=1", "epoch=2-batch=1-step=1"]
    assert kept == {f"{stem}{end}" for stem in expected for end in (".ckpt", ".rank-1.part", ".rank-2.part")}
    assert not set(gone) & set(others)


def test_a_checkpoint_that_can_t_be_looked_at_stops_and_one_that_is_gone_does_not(tmp_path):
    last, first = tmp_path / "last.ckpt", tmp_path / "epoch=1-step=1.ckpt"
    last.touch()
    first.symlink_to(tmp_path / "nowhere")
    assert newest_first(tmp_path) == [last, first]
    first.unlink()
    first.symlink_to(first.name)
    with pytest.raises(UserError, match=r"can't read .*epoch=1-step=1\.ckpt: Too many levels"):
        newest_first(tmp_path)
