"""The sampler enters its epoch anywhere, reads the tail twice alike and forgets the offset in the next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet3.components.data.loading.batching import plain_batches
from espnet3.components.data.loading.epoch_batch_sampler import EpochBatchSampler


def plan(epoch):
    return plain_batches(23, 4, shuffle=True, seed=1, epoch=epoch)


@given(st.integers(0, 4), st.integers(0, 6))
def test_a_sampler_that_starts_at_a_batch_yields_the_tail_and_then_whole_epochs(epoch, start):
    whole = list(EpochBatchSampler(plan, epoch=epoch))
    sampler = EpochBatchSampler(plan, epoch=epoch, start_batch=start)
    sampler.set_epoch(epoch)  # Lightning does so at the start of a resumed epoch
    assert list(sampler) == whole[start:]
    assert list(sampler) == whole[start:]  # a loader with workers asks twice
    assert len(sampler) == len(whole) == 6
    sampler.set_epoch(epoch + 1)
    assert list(sampler) == list(EpochBatchSampler(plan, epoch=epoch + 1))
    assert sampler.start_batch == 0


def test_keys_carry_the_epoch():
    sampler = EpochBatchSampler(plan, epoch=2)
    assert [[index for _, index in batch] for batch in sampler] == [list(batch) for batch in plan(2)]
    assert {epoch for batch in sampler for epoch, _ in batch} == {2}


def test_an_iterator_that_is_under_way_keeps_its_epoch():
    sampler = EpochBatchSampler(plan)
    iterator = iter(sampler)
    first = next(iterator)
    sampler.set_epoch(1)
    assert [first, *iterator] == list(EpochBatchSampler(plan))


def test_a_fixed_epoch_is_not_moved():
    sampler = EpochBatchSampler(plan, fixed_epoch=True)
    before = list(sampler)
    sampler.set_epoch(3)
    assert list(sampler) == before


def test_a_start_beyond_the_epoch_is_refused():
    with pytest.raises(ValueError, match="start_batch 7 of an epoch of 6 batches"):
        EpochBatchSampler(plan, start_batch=7)
