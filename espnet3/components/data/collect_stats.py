"""Statistics of a model's features over all training and validation data, and every utterance's shape.

Under `<stats_dir>/<split>/`:

- `<key>_stats.npz` for each feature of `collect_feats`: `count`, `sum`, `sum_square` (float64);
- `<key>_shape` for each feature, and for each input of the model that has a length (speech, text): a line
  `uid 123,40` per utterance, in the order of the data. Bucketed batches use them (`length_buckets`);
  where a feature and an input have the same name, the feature's shape is written;
- `stats_keys`, `batch_keys`: the names of the features and of the inputs, one a line.

Each utterance goes through the model by itself, without padding and with a random seed of its own, and sums
are those of blocks of utterances. So the result is the same to the last bit for any batch size, and for any
number of workers and of ranks that share the blocks, whatever the model computes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from espnet3.components.data.data_organizer import DataOrganizer
from espnet3.components.data.feature_stats import FeatureStats
from espnet3.components.data.seeding import derived_seed
from espnet3.components.data.shape_files import Shape, write_shape_file
from espnet3.errors import UserError
from espnet3.rundir.files.atomic import write_text

CollateFn = Callable[[Any], Any]
Progress = Callable[[int, int], None]
BLOCK = 64
"""Utterances whose features are summed in order; then the sums of all blocks are added."""


@dataclass(frozen=True)
class RankStats:
    """The statistics that one rank has collected: split -> its blocks, in the order of the data."""

    splits: "dict[str, list[_Block]]"


def collect_stats(
    model: torch.nn.Module, organizer: DataOrganizer, *, stats_dir: str | Path, **options: Any
) -> list[Path]:
    """Collect the statistics on one rank, with the options of `collect_rank_stats`, and write them.

    Nothing is written before all data was read.
    """
    return write_stats([collect_rank_stats(model, organizer, **options)], stats_dir)


def collect_rank_stats(
    model: torch.nn.Module,
    organizer: DataOrganizer,
    *,
    collate_fn: CollateFn,
    batch_size: int = 16,
    num_workers: int = 0,
    splits: Sequence[str] = ("train", "valid"),
    progress: Progress | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> RankStats:
    """Collect one rank's share of the statistics of `splits`; a split without data is left out.

    The model is in evaluation mode meanwhile; afterwards each of its modules has its former mode.

    Args:
        model: `collect_feats(**batch)` gives a dict of `<key>` (B, T, ...) and `<key>_lengths` (B,).
        organizer: the data; random transforms draw as in epoch 0.
        collate_fn: makes the batch (of one) that the model gets.
        batch_size: utterances that a worker reads and hands over at once.
        num_workers: processes that read.
        splits: which data.
        progress: called with (utterances done, utterances in all) of this rank; may raise to stop.
        rank: this process's.
        world_size: number of ranks.

    Raises:
        UserError: the model has no `collect_feats`, its features have no lengths or are not finite, a uid
            occurs twice, or there is no data at all.
    """
    collect_feats: Any = getattr(model, "collect_feats", None)
    if collect_feats is None:
        raise UserError(f"{type(model).__name__} has no collect_feats(**batch), which collect_stats calls")
    datasets = {split: getattr(organizer, split) for split in splits}
    datasets = {split: dataset for split, dataset in datasets.items() if len(dataset)}
    if not datasets:
        raise UserError(f"no data to collect statistics of: dataset.{' and dataset.'.join(splits)} are empty")
    shares = {split: _share(len(dataset), rank, world_size) for split, dataset in datasets.items()}
    done, total = 0, sum(map(len, shares.values()))
    blocks: dict[str, list[_Block]] = {split: [] for split in datasets}
    with _evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        for split, dataset in datasets.items():
            uids: set[str] = set()
            for samples in _loader(Subset(dataset, shares[split]), batch_size, num_workers):
                for number, sample in enumerate(samples, start=len(uids)):
                    if number % BLOCK == 0:
                        blocks[split].append(_Block())
                    (uid,), batch = collate_fn([sample])
                    if uid in uids:
                        raise _duplicate_uid(uid, split)
                    uids.add(uid)
                    torch.default_generator.manual_seed(derived_seed(split, uid) % 2**63)
                    blocks[split][-1].add(uid, batch, collect_feats(**_on_device(batch, model)))
                done += len(samples)
                if progress is not None:
                    progress(done, total)
    return RankStats(blocks)


def write_stats(ranks: Sequence[RankStats], stats_dir: str | Path) -> list[Path]:
    """Write what the ranks have collected, given in their order.

    Each file is replaced atomically, `stats_keys` last.

    Args:
        ranks: the statistics of all ranks.
        stats_dir: where the folders of the splits are made.

    Returns:
        The files written.

    Raises:
        UserError: a uid occurs twice, or an utterance lacks what others have.
    """
    whole = {
        split: _merge(split, [block for rank in ranks for block in rank.splits[split]])
        for split in ranks[0].splits
    }
    return [file for split, block in whole.items() for file in block.write(Path(stats_dir) / split)]


def _share(size: int, rank: int, world_size: int) -> range:
    """The utterances of a rank: whole blocks, one after the other."""
    blocks = -(-size // BLOCK)
    first, last = (blocks * number // world_size * BLOCK for number in (rank, rank + 1))
    return range(first, min(last, size))


def _merge(split: str, blocks: Sequence["_Block"]) -> "_Block":
    whole = _Block()
    for block in blocks:
        twice = whole.uids & block.uids
        if twice:
            raise _duplicate_uid(min(twice), split)
        whole.merge(block)
    return whole


def _duplicate_uid(uid: str, split: str) -> UserError:
    return UserError(f"uid {uid!r} occurs twice in dataset.{split}")


class _Block:
    """Statistics and shapes of consecutive utterances."""

    def __init__(self) -> None:
        self.stats: dict[str, FeatureStats] = {}
        self.shapes: dict[str, dict[str, Shape]] = {}
        self.inputs: set[str] = set()
        self.uids: set[str] = set()

    def add(self, uid: str, batch: dict[str, Any], feats: Any) -> None:
        """Add one utterance: its batch of one, and the features that the model computed."""
        self.uids.add(uid)
        inputs = {
            key: value
            for key, value in batch.items()
            if f"{key}_lengths" in batch and isinstance(value, torch.Tensor)
        }
        features = {key: feature.cpu().numpy() for key, feature in _features(feats, uid).items()}
        for key, feature in features.items():
            if not np.isfinite(feature).all():
                raise UserError(f"collect_feats: {key!r} of uid {uid!r} holds NaN or Inf")
            self.stats.setdefault(key, FeatureStats()).add(feature)
            self._add_shape(key, uid, feature.shape)
        for key in inputs.keys() - features.keys():
            self._add_shape(key, uid, tuple(inputs[key].shape[1:]))
        self.inputs |= inputs.keys()

    def merge(self, other: "_Block") -> None:
        """Add the utterances of the next block."""
        self.uids |= other.uids
        self.inputs |= other.inputs
        for key, stats in other.stats.items():
            self.stats.setdefault(key, FeatureStats()).merge(stats)
        for key, shapes in other.shapes.items():
            self.shapes.setdefault(key, {}).update(shapes)

    def _add_shape(self, key: str, uid: str, shape: Shape) -> None:
        self.shapes.setdefault(key, {})[uid] = shape

    def write(self, folder: Path) -> list[Path]:
        """Write the split's files; returns their paths."""
        for key, shapes in self.shapes.items():
            if shapes.keys() != self.uids:
                lacking = min(self.uids - shapes.keys())
                raise UserError(f"collect_stats: {key!r} is missing for uid {lacking!r}, but not for others")
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for key in sorted(self.shapes):
            written.append(folder / f"{key}_shape")
            write_shape_file(written[-1], self.shapes[key])
        for key in sorted(self.stats):
            written.append(folder / f"{key}_stats.npz")
            self.stats[key].write(written[-1])
        for name, keys in (("batch_keys", self.inputs), ("stats_keys", self.stats.keys())):
            written.append(folder / name)
            write_text(written[-1], "".join(f"{key}\n" for key in sorted(keys)), keep_same=True)
        return written


def _loader(dataset: Dataset, batch_size: int, num_workers: int) -> DataLoader:
    """Reads lists of `batch_size` samples, in order."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=list,  # samples as they are: a worker would need a file descriptor for every tensor
        generator=torch.Generator(),  # not the global one, which belongs to the training
    )


def _features(feats: Any, uid: str) -> dict[str, torch.Tensor]:
    """The features of the one utterance, (T, ...), cut to their lengths."""
    if not isinstance(feats, dict):
        raise UserError(f"collect_feats must give a dict, not {type(feats).__name__} (uid {uid!r})")
    keys = [key for key in feats if not key.endswith("_lengths")]
    if not keys:
        raise UserError(f"collect_feats gave no features for uid {uid!r}")
    features = {}
    for key in keys:
        lengths = feats.get(f"{key}_lengths")
        if lengths is None:
            raise UserError(f"collect_feats gives {key!r} without '{key}_lengths' (B,)")
        feature = feats[key]
        if feature.ndim < 2 or len(feature) != 1 or len(lengths) != 1 or int(lengths[0]) > feature.shape[1]:
            raise UserError(
                f"collect_feats: {key!r} of uid {uid!r} must be (B, T, ...) with lengths (B,) of at most T;"
                f" it is {tuple(feature.shape)} with lengths {lengths.tolist()}, for B = 1"
            )
        features[key] = feature[0, : int(lengths[0])]
    return features


def _on_device(batch: dict[str, Any], model: torch.nn.Module) -> dict[str, Any]:
    weight = next(model.parameters(), None)
    if weight is None or weight.device.type == "cpu":
        return batch
    return {k: v.to(weight.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards each module (a part may be frozen) is in the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
