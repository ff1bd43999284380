"""`iter_factory` of a data loader: batches of utterances of similar length, by stage 1's shape files.

train:
  iter_factory:
    _target_: espnet3.components.data.loading.length_buckets.LengthBuckets
    batch_bins: 400000                          # and/or batch_size: 32
    shape_files: ["${stats_dir}/train/feats_shape", "${stats_dir}/train/text_shape"]
  num_workers: 2
"""

import math
from collections.abc import Sequence
from pathlib import Path

from espnet3.components.data.loading.batching import Batch, bucketed_batches
from espnet3.components.data.shape_files import read_shape_file
from espnet3.errors import UserError


class LengthBuckets:
    """Composes the batches of an epoch; the data loader puts them in order by (seed, epoch).

    Any class with this call and the attribute `shuffle` can be an `iter_factory`.

    Args:
        shape_files: `<key>_shape` files of collect_stats; the first decides which utterances are similar.
        batch_size: the most utterances of a batch, on each rank.
        batch_bins: the most elements of a batch on each rank with its padding, summed over the shape
            files: utterances x longest x further axes. A longer utterance makes a batch of its own.
        shuffle: whether the order of the batches changes with the epoch; by default it does in training
            and never in validation.

    Raises:
        UserError: neither of batch_size and batch_bins, one below 1, or no shape file.
    """

    def __init__(
        self,
        shape_files: Sequence[str | Path],
        batch_size: int | None = None,
        batch_bins: int | None = None,
        shuffle: bool | None = None,
    ) -> None:
        if isinstance(shape_files, str | Path):
            shape_files = [shape_files]
        if not shape_files:
            raise UserError("shape_files is empty; stage 1 (collect_stats) makes them under stats_dir")
        if batch_size is None and batch_bins is None:
            raise UserError("one of batch_size and batch_bins must be given")
        for name, value in (("batch_size", batch_size), ("batch_bins", batch_bins)):
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, given: {value}")
        self.shape_files = [Path(file) for file in shape_files]
        self.batch_size = batch_size
        self.batch_bins = batch_bins
        self.shuffle = shuffle

    def __call__(self, uids: Sequence[str]) -> list[Batch]:
        """The batches, as indexes into `uids` (those of the data, in its order).

        Raises:
            UserError: a shape file is missing, lacks a uid of the data, or has one that the data lacks.
        """
        columns = [self._sizes(file, uids) for file in self.shape_files]
        sizes = list(zip(*columns, strict=True))
        return bucketed_batches(sizes, uids, batch_size=self.batch_size, batch_bins=self.batch_bins)

    @staticmethod
    def _sizes(file: Path, uids: Sequence[str]) -> list[int]:
        shapes = read_shape_file(file)
        hint = "the data has changed since; run stage 1 (collect_stats) again"
        for uid in uids:
            if uid not in shapes:
                raise UserError(f"{file} has no uid {uid!r}, which is in the data: {hint}")
        if len(shapes) > len(uids):
            surplus = min(shapes.keys() - set(uids))
            raise UserError(f"{file} has uid {surplus!r}, which is not in the data: {hint}")
        return [math.prod(shapes[uid]) for uid in uids]
