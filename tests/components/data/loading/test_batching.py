"""Batches hold each utterance once, on every rank equally many, wherever one enters."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet3.components.data.loading.batching import (
    Deal,
    batches_of_rank,
    bucketed_batches,
    fit_rest_to_world_size,
    fit_to_world_size,
    left_after,
    plain_batches,
    shuffled,
)

counts = st.integers(1, 60)
batch_sizes = st.integers(1, 9)
world_sizes = st.integers(1, 9)
seeds = st.integers(0, 5)


def utterances(batches):
    return sorted(chain.from_iterable(batches))


@st.composite
def bucketed_data(draw):
    sizes = draw(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), min_size=1, max_size=40))
    uids = draw(st.permutations([f"utt{number}" for number in range(len(sizes))]))
    return sizes, uids


@given(counts, batch_sizes, st.booleans(), seeds, seeds)
def test_plain_batches_hold_each_index_once(count, batch_size, shuffle, seed, epoch):
    batches = plain_batches(count, batch_size, shuffle=shuffle, seed=seed, epoch=epoch)
    assert utterances(batches) == list(range(count))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert batches == plain_batches(count, batch_size, shuffle=shuffle, seed=seed, epoch=epoch)


@given(counts, batch_sizes, seeds)
def test_drop_last_leaves_out_nothing_but_the_incomplete_batch(count, batch_size, seed):
    options = {"shuffle": True, "seed": seed, "epoch": 3}
    kept = plain_batches(count, batch_size, drop_last=True, **options)
    assert kept == [b for b in plain_batches(count, batch_size, **options) if len(b) == batch_size]


def test_the_order_changes_with_seed_and_with_epoch():
    orders = [
        tuple(plain_batches(50, 5, shuffle=True, seed=seed, epoch=epoch))
        for seed in (1, 2)
        for epoch in (0, 1)
    ]
    assert len(set(orders)) == 4
    assert plain_batches(7, 3, seed=1, epoch=4) == [(0, 1, 2), (3, 4, 5), (6,)]


def test_the_order_of_a_seed_and_epoch_never_changes_between_versions():
    # A run that is resumed with a newer version of this code must find the order it began with.
    assert plain_batches(8, 3, shuffle=True, seed=1, epoch=2) == [(7, 0, 4), (1, 3, 2), (6, 5)]


@given(bucketed_data(), st.none() | batch_sizes, st.integers(20, 300))
def test_buckets_hold_each_utterance_once_within_size_and_bins(data, batch_size, batch_bins):
    sizes, uids = data
    batches = bucketed_batches(sizes, uids, batch_size=batch_size, batch_bins=batch_bins)
    assert utterances(batches) == list(range(len(sizes)))
    for batch in batches:
        assert batch_size is None or len(batch) <= batch_size
        padded = sum(len(batch) * max(sizes[index][axis] for index in batch) for axis in (0, 1))
        assert padded <= batch_bins or len(batch) == 1
    lengths = [[sizes[index][0] for index in batch] for batch in batches]
    assert list(chain.from_iterable(lengths)) == sorted(chain.from_iterable(lengths))


@given(bucketed_data(), batch_sizes, st.randoms(use_true_random=False))
def test_the_composition_of_buckets_does_not_depend_on_the_order_of_the_data(data, batch_size, random):
    sizes, uids = data
    other = list(range(len(sizes)))
    random.shuffle(other)
    here = bucketed_batches(sizes, uids, batch_size=batch_size)
    there = bucketed_batches([sizes[i] for i in other], [uids[i] for i in other], batch_size=batch_size)
    assert [[uids[i] for i in batch] for batch in here] == [
        [uids[other[i]] for i in batch] for batch in there
    ]


def test_batch_bins_count_the_padding_of_all_tensors():
    sizes, uids = [(10, 3), (10, 1), (20, 1)], ["a", "b", "c"]
    assert bucketed_batches(sizes, uids, batch_bins=26) == [(1, 0), (2,)]  # 2 x 10 + 2 x 3
    assert bucketed_batches(sizes, uids, batch_bins=25) == [(1,), (0,), (2,)]


@given(bucketed_data(), seeds, seeds)
def test_shuffling_keeps_the_batches_and_depends_on_seed_and_epoch_only(data, seed, epoch):
    batches = bucketed_batches(*data, batch_size=2)
    order = shuffled(batches, seed=seed, epoch=epoch)
    assert sorted(order) == sorted(batches)
    assert order == shuffled(batches, seed=seed, epoch=epoch)


@given(counts, batch_sizes, world_sizes, seeds)
def test_ranks_share_all_utterances_in_equally_many_batches(count, batch_size, world_size, seed):
    batches = plain_batches(count, batch_size, shuffle=True, seed=seed)
    if count < world_size:
        with pytest.raises(ValueError, match=f"{count} utterances for {world_size} ranks"):
            fit_to_world_size(batches, world_size)
        return
    fitted = fit_to_world_size(batches, world_size)
    shares = [batches_of_rank(fitted, rank, world_size) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    assert all(batch for share in shares for batch in share)
    assert utterances(chain.from_iterable(shares)) == list(range(count))


@given(counts, batch_sizes, world_sizes, seeds)
def test_no_batch_grows_when_there_is_enough_to_split(count, batch_size, world_size, seed):
    batches = plain_batches(count, batch_size, shuffle=True, seed=seed)
    fitted = fit_to_world_size(batches, world_size, uneven=True)
    assert max(map(len, fitted)) <= batch_size
    assert list(chain.from_iterable(fitted)) == list(chain.from_iterable(batches))  # the order stays
    if -(-len(batches) // world_size) * world_size <= count:
        assert fitted == fit_to_world_size(batches, world_size)


@given(st.integers(1, 40), world_sizes)
def test_batches_of_one_are_joined_in_training_and_left_uneven_in_validation(count, world_size):
    batches = plain_batches(count, 1)
    uneven = fit_to_world_size(batches, world_size, uneven=True)
    assert uneven == batches
    if count >= world_size:
        joined = fit_to_world_size(batches, world_size)
        assert len(joined) == count // world_size * world_size
        sizes = list(map(len, joined))
        assert max(sizes) - min(sizes) <= 2


def test_the_largest_batches_are_split_first_and_evenly():
    batches = [(0,), (1, 2, 3, 4, 5, 6), (7, 8, 9)]
    assert fit_to_world_size(batches, 4) == [(0,), (1, 2, 3), (4, 5, 6), (7, 8, 9)]
    assert fit_to_world_size(batches, 5) == [(0,), (1, 2), (3, 4), (5, 6), (7, 8, 9)]
    assert fit_to_world_size(batches, 3) == batches


@given(counts, batch_sizes, world_sizes)
def test_every_epoch_has_equally_many_batches(count, batch_size, world_size):
    lengths = {
        len(fit_to_world_size(plain_batches(count, batch_size, shuffle=True, epoch=epoch), world_size))
        for epoch in range(3)
        if count >= world_size
    }
    assert len(lengths) <= 1


@given(st.integers(9, 60), batch_sizes, world_sizes, world_sizes, st.data())
def test_what_n_steps_have_consumed_can_be_told_from_the_plan(count, batch_size, before, after, data):
    # So the rest of an epoch can be dealt over another number of ranks.
    fitted = fit_to_world_size(plain_batches(count, batch_size, shuffle=True, seed=1), before)
    steps = data.draw(st.integers(0, len(fitted) // before))
    done = [
        index for rank in range(before) for b in batches_of_rank(fitted, rank, before)[:steps] for index in b
    ]
    rest = fit_to_world_size(fitted[steps * before :], after, uneven=True)
    assert sorted(done + list(chain.from_iterable(rest))) == list(range(count))


deals = st.lists(st.tuples(world_sizes, st.integers(0, 4)), max_size=3)


@given(counts, batch_sizes, deals, world_sizes)
def test_an_epoch_dealt_to_changing_numbers_of_ranks_holds_each_utterance(count, batch_size, deals, after):
    left = plain_batches(count, batch_size, shuffle=True, seed=1)
    dealt, done = [], []
    for world_size, wanted in deals:
        fitted = fit_rest_to_world_size(left, world_size)
        deal = Deal(world_size, min(wanted, len(fitted) // world_size))
        for rank in range(world_size):
            done += chain.from_iterable(batches_of_rank(fitted, rank, world_size)[: deal.batches])
        dealt.append(deal)
        left = left_after(plain_batches(count, batch_size, shuffle=True, seed=1), dealt)
    rest = list(chain.from_iterable(fit_rest_to_world_size(left, after)))
    assert set(done + rest) == set(range(count))
    surplus = len(done) + len(rest) - count
    assert surplus < sum(deal.world_size for deal in dealt) + after, "at most one each time for each rank"
    if count >= 9 and all(deal.batches == 0 for deal in dealt):
        assert surplus == 0


def test_a_rest_smaller_than_the_ranks_comes_more_than_once():
    assert fit_rest_to_world_size([(7, 8)], 3) == [(7,), (8,), (7,)]
    assert fit_rest_to_world_size([], 3) == []
