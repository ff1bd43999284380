"""When skipped batches and updates mean that a training has diverged, and where it says that it did."""

import re

import pytest

from espnet3.components.modeling.divergence.skips import Place, Skips, UpdateResult
from espnet3.errors import Diverged

BAD = UpdateResult(nonfinite=("layer.weight",))
DONE = UpdateResult()
OVERFLOWED = UpdateResult(overflowed=True)


def test_a_hundred_batches_in_a_row_are_allowed_and_the_next_names_where_they_began():
    skips = Skips()
    skips.batch(Place(1, 8), skipped=False)
    for batch in range(100):
        skips.batch(Place(2, 9 + batch), skipped=True)
    with pytest.raises(Diverged, match=r"^diverged at epoch 2, batch 9: 101 batches in a row had"):
        skips.batch(Place(3, 1), skipped=True)


def test_an_accepted_one_ends_the_row_of_its_kind_only():
    skips = Skips()
    for batch in range(150):
        skips.update("generator", Place(1, batch + 1), BAD if batch % 2 else DONE)
    for batch in range(100):
        skips.batch(Place(1, batch + 1), skipped=False)
        skips.update("generator", Place(1, batch + 1), DONE)
        skips.update("discriminator", Place(1, batch + 1), BAD)
    with pytest.raises(Diverged, match="batch 1: 101 updates of discriminator in a row had gradients of NaN"):
        skips.update("discriminator", Place(1, 101), BAD)


def test_only_the_first_of_an_epoch_is_announced_and_its_end_counts_all():
    skips = Skips()
    skips.begin_epoch()
    assert [skips.update("", Place(1, n), BAD) for n in (1, 2, 3)] == [True, False, False]
    skips.update("", Place(1, 4), DONE)
    assert skips.summary(1) == ["epoch 1: 3 of 4 updates were skipped, whose gradients are NaN or Inf"]
    assert skips.nonfinite_gradients() == {"nonfinite_gradients": 3}
    skips.begin_epoch()
    assert skips.update("", Place(2, 1), BAD)
    assert skips.summary(2) == []  # it was announced


def test_an_epoch_of_which_everything_was_skipped_has_diverged():
    skips = Skips()
    skips.batch(Place(3, 7), skipped=True)
    skips.begin_epoch()
    skips.batch(Place(4, 1), skipped=True)
    with pytest.raises(Diverged, match="no batch from there on had a finite loss") as raised:
        skips.end_epoch({})
    # It says where it began, in the epoch before, and names no other one.
    assert re.findall(r"epoch \d+, batch \d+|epoch \d+", str(raised.value)) == ["epoch 3, batch 7"]
    skips.batch(Place(4, 2), skipped=False)
    skips.update("generator", Place(4, 2), BAD)
    with pytest.raises(Diverged, match="of the updates of generator from there on none had finite grad"):
        skips.end_epoch({"generator": False})
    skips.end_epoch({"generator": True})  # later batches contributed, and wait for an update
    skips.update("generator", Place(4, 3), DONE)
    skips.end_epoch({"generator": False})


def test_overflows_of_a_loss_scale_are_normal_unless_they_never_end():
    skips = Skips()
    for batch in range(100):
        assert not skips.update("", Place(1, batch + 1), OVERFLOWED)
    skips.end_epoch({})
    assert not skips.nonfinite_gradients()
    with pytest.raises(Diverged, match="101 updates in a row"):
        skips.update("", Place(1, 101), OVERFLOWED)


def test_the_counts_go_on_from_their_state():
    skips, restored = Skips(), Skips()
    skips.batch(Place(1, 2), skipped=True)
    skips.update("a", Place(1, 2), BAD)
    restored.load_state_dict(skips.state_dict())
    assert restored == skips
