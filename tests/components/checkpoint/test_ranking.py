import pytest

from espnet3.components.checkpoint.ranking import (
    Ranked,
    Ranking,
    best_checkpoint,
    last_checkpoint,
    read_ranking,
    write_ranking,
)
from espnet3.errors import UserError


def ranked(mode, values, keep):
    ranking = Ranking("valid/loss", mode)
    for epoch, value in enumerate(values, start=1):
        ranking = ranking.with_candidate(Ranked(f"epoch={epoch}.ckpt", value, epoch), keep)
    return [entry.epoch for entry in ranking.best]


@pytest.mark.parametrize(
    ("mode", "values", "best"),
    [("min", [3, 1, 2], [2, 3]), ("max", [3, 1, 2], [1, 3]), ("min", [1, 1, 1], [1, 2])],
)
def test_the_best_are_kept_best_first_and_of_equals_the_earlier(mode, values, best):
    assert ranked(mode, values, keep=2) == best


def test_an_epoch_that_was_done_again_replaces_its_entry():
    ranking = Ranking("l", "min").with_candidate(Ranked("a.ckpt", 1.0, 1), 3)
    assert ranking.with_candidate(Ranked("a.ckpt", 2.0, 1), 3).best == (Ranked("a.ckpt", 2.0, 1),)


def test_a_value_that_is_nan_is_never_the_best():
    nan = float("nan")
    assert ranked("min", [nan, 2, nan, 1], keep=2) == [4, 2]


def test_the_best_that_is_still_there_is_found(tmp_path):
    ranking = Ranking("l", "min", (Ranked("a.ckpt", 1.0, 1), Ranked("b.ckpt", 2.0, 2)))
    write_ranking(tmp_path, ranking)
    assert read_ranking(tmp_path) == ranking
    (tmp_path / "b.ckpt").touch()
    assert best_checkpoint(tmp_path) == tmp_path / "b.ckpt"
    (tmp_path / "a.ckpt").touch()
    assert best_checkpoint(tmp_path) == tmp_path / "a.ckpt"


def test_without_any_the_error_says_what_there_is(tmp_path):
    assert last_checkpoint(tmp_path) is None
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(UserError, match=r"no best checkpoint \(there is last\.ckpt\)"):
        best_checkpoint(tmp_path)
    assert last_checkpoint(tmp_path) == tmp_path / "last.ckpt"


def test_a_run_that_goes_on_from_an_older_checkpoint_weighs_later_ones_again():
    ranking = Ranking("valid/loss", "min")
    for value, epoch, batch in ((3.0, 1, 0), (2.0, 1, 5), (1.0, 2, 0)):
        ranking = ranking.with_candidate(Ranked(f"{epoch}-{batch}", value, epoch, batch), 3)
    assert [entry.file for entry in ranking.without(later_than=(1, 5)).best] == ["1-5", "1-0"]
    assert ranking.without(later_than=(0, 0)).best == ()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"monitor": "a", "mode": "min", "best": [{"file": 1}]}', '{"best": 3}']
)
def test_a_damaged_ranking_is_none(tmp_path, text):
    (tmp_path / "best.json").write_text(text)
    assert read_ranking(tmp_path) is None
