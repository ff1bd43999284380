"""Which utterances make which batch, in which order, on which rank: pure functions of numbers.

A batch is a tuple of indexes into the data. The plan of an epoch is one list of batches, the same on all
ranks: `plain_batches`, or `bucketed_batches` put in order by `shuffled`. `fit_to_world_size` makes its length
a multiple of the world size, and rank r of W takes every W-th batch from the r-th on. The first n steps of
an epoch have therefore consumed the first n * W batches of the fitted plan, and the rest (`left_after`) can
be dealt to another number of ranks.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise

import numpy as np

from espnet3.components.data.seeding import derived_seed

Batch = tuple[int, ...]


@dataclass(frozen=True)
class Deal:
    """Batches of an epoch that were trained on with one number of ranks."""

    world_size: int
    batches: int
    """On each rank."""


def plain_batches(
    count: int,
    batch_size: int,
    *,
    drop_last: bool = False,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
) -> list[Batch]:
    """Batches of `batch_size` of the indexes 0 to `count` - 1, in order or shuffled by (seed, epoch).

    The last batch may be smaller; `drop_last` leaves it out then.
    """
    order = _permutation(count, seed, epoch) if shuffle else list(range(count))
    batches = [tuple(order[start : start + batch_size]) for start in range(0, count, batch_size)]
    if drop_last and batches and len(batches[-1]) < batch_size:
        batches.pop()
    return batches


def bucketed_batches(
    sizes: Sequence[tuple[int, ...]],
    uids: Sequence[str],
    *,
    batch_size: int | None = None,
    batch_bins: int | None = None,
) -> list[Batch]:
    """Batches of utterances of similar size, shortest first: determined by sizes and uids only.

    Args:
        sizes: of each utterance, its number of elements in each padded tensor (speech, text, ...); the
            first decides which are similar.
        uids: of each utterance; they break ties, so that the order of the data does not matter.
        batch_size: the most utterances of a batch.
        batch_bins: the most elements of a batch with its padding, summed over the tensors. An utterance
            that has more makes a batch of its own.
    """
    batches: list[Batch] = []
    batch: list[int] = []
    longest: tuple[int, ...] = ()
    for index in sorted(range(len(sizes)), key=lambda i: (sizes[i], uids[i])):
        stretched = tuple(map(max, longest, sizes[index])) if batch else sizes[index]
        full = batch_size is not None and len(batch) == batch_size
        too_big = batch_bins is not None and (len(batch) + 1) * sum(stretched) > batch_bins
        if batch and (full or too_big):
            batches.append(tuple(batch))
            batch, stretched = [], sizes[index]
        batch.append(index)
        longest = stretched
    return [*batches, tuple(batch)] if batch else batches


def shuffled(batches: Sequence[Batch], *, seed: int, epoch: int) -> list[Batch]:
    """The batches in an order determined by (seed, epoch)."""
    return [batches[position] for position in _permutation(len(batches), seed, epoch)]


def fit_to_world_size(batches: Sequence[Batch], world_size: int, *, uneven: bool = False) -> list[Batch]:
    """The same utterances in a number of batches that is a multiple of the world size.

    Batches of two or more are split, those with the largest pieces first and the first of equals; the
    pieces stay where the batch was. Where there is too little to split (batches of one), the smallest
    batches are joined instead; with `uneven` they are left, and the last ranks get one batch less.

    Raises:
        ValueError: fewer utterances than ranks, without `uneven`.
    """
    utterances = sum(map(len, batches))
    missing = -len(batches) % world_size
    splittable = utterances - len(batches)
    if missing <= splittable or uneven:
        return _split(batches, min(missing, splittable))
    if utterances < world_size:
        raise ValueError(f"{utterances} utterances for {world_size} ranks")
    return _join(batches, len(batches) % world_size)


def left_after(batches: Sequence[Batch], dealt: Sequence[Deal]) -> list[Batch]:
    """The rest of an epoch after batches of it were dealt to these numbers of ranks, one after another."""
    left = list(batches)
    for deal in dealt:
        left = fit_rest_to_world_size(left, deal.world_size)[deal.batches * deal.world_size :]
    return left


def fit_rest_to_world_size(batches: Sequence[Batch], world_size: int) -> list[Batch]:
    """As `fit_to_world_size`; where fewer utterances are left than there are ranks, some come twice.

    The ranks run their collectives together, so every rank needs a batch.
    """
    utterances = [index for batch in batches for index in batch]
    if 0 < len(utterances) < world_size:
        return [(index,) for index in islice(cycle(utterances), world_size)]
    return fit_to_world_size(batches, world_size)


def batches_of_rank(batches: Sequence[Batch], rank: int, world_size: int) -> list[Batch]:
    """The batches of one rank, out of a fitted plan."""
    return list(batches[rank::world_size])


def _permutation(count: int, seed: int, epoch: int) -> list[int]:
    rng = np.random.default_rng(derived_seed(seed, epoch, "order of the data"))
    order: list[int] = rng.permutation(count).tolist()
    return order


def _split(batches: Sequence[Batch], times: int) -> list[Batch]:
    """Split `times` times, always a batch whose pieces are the largest, into pieces of equal size."""
    pieces = [1] * len(batches)
    if times:
        largest = [(-len(batch), position) for position, batch in enumerate(batches)]
        heapq.heapify(largest)
        for _ in range(times):
            _, position = largest[0]
            pieces[position] += 1
            piece_size = -(-len(batches[position]) // pieces[position])
            heapq.heapreplace(largest, (-piece_size, position))
    return [piece for batch, count in zip(batches, pieces, strict=True) for piece in _pieces(batch, count)]


def _pieces(batch: Batch, count: int) -> list[Batch]:
    ends = [len(batch) * number // count for number in range(count + 1)]
    return [batch[start:end] for start, end in pairwise(ends)]


def _join(batches: Sequence[Batch], times: int) -> list[Batch]:
    """Join the two smallest batches, `times` times; the joined batch takes the first one's position."""
    joined = dict(enumerate(batches))
    smallest = [(len(batch), position) for position, batch in joined.items()]
    heapq.heapify(smallest)
    for _ in range(times):
        first, second = sorted(heapq.heappop(smallest)[1] for _ in range(2))
        joined[first] += joined.pop(second)
        heapq.heappush(smallest, (len(joined[first]), first))
    return [joined[position] for position in sorted(joined)]
