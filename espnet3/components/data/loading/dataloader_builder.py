"""The `dataloader:` block of a configuration, and the data loader of one rank that it describes.

    dataloader:
      collate_fn: {_target_: ...}           # default: CommonCollateFn with int_pad_value -1
      train: {batch_size: 16, num_workers: 2}
      valid: {batch_size: 16}

`train` and `valid` hold options of torch's DataLoader, or both hold `iter_factory` (see `length_buckets`)
next to the options that do not concern batches. A batch size is that of one rank. Training is shuffled
unless `shuffle: false`; validation never is, and reads the same at every epoch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from espnet3.components.data.combined_dataset import CombinedDataset
from espnet3.components.data.data_organizer import DataOrganizer
from espnet3.components.data.instantiation import instantiate_node
from espnet3.components.data.loading.batching import (
    Batch,
    Deal,
    batches_of_rank,
    fit_rest_to_world_size,
    fit_to_world_size,
    left_after,
    plain_batches,
    shuffled,
)
from espnet3.components.data.loading.collate import CommonCollateFn
from espnet3.components.data.loading.epoch_batch_sampler import EpochBatchSampler
from espnet3.components.data.loading.worker_processes import check_can_be_sent, worker_options
from espnet3.components.data.seeding import derived_seed
from espnet3.components.gpu import uses_gpu
from espnet3.config.checks.dataloader import (
    LOADER_OPTIONS,
    SPLITS,
    WORKER_OPTIONS,
    Block,
    as_config,
    check_dataloader_config,
    options_of,
)
from espnet3.errors import UserError


class DataLoaderBuilder:
    """Builds the loaders of one rank; a batch is what the collate function makes, `(uids, data)`.

    Args:
        organizer: the data.
        config: the `dataloader` block.
        seed: decides the order of the batches and what random transforms draw, both with the epoch.
        rank: whose share of the batches is read.
        world_size: number of ranks that the batches are dealt to.

    Raises:
        UserError: an unknown or refused option; AssertionError when only one of train and valid has an
            `iter_factory`.
    """

    def __init__(
        self,
        organizer: DataOrganizer,
        config: Block,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_dataloader_config(config)
        self.organizer = organizer
        self.config = as_config(config)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.collate_fn = build_collate_fn(config)

    def build(
        self, split: str, epoch: int = 0, start_batch: int = 0, dealt_before: Sequence[Deal] = ()
    ) -> DataLoader:
        """The loader of `train` or `valid`, which starts at a batch of an epoch.

        Its `batch_sampler` is an `EpochBatchSampler`; the loader's length is that of a full epoch, or of
        `epoch`, if batches of it were dealt to other numbers of ranks: it then serves that epoch only.

        Raises:
            UserError: no data, fewer utterances to train on than ranks, or shape files of other data.
        """
        if split not in SPLITS:
            raise ValueError(f"split {split!r}: data loaders are for {' and '.join(SPLITS)}")
        options = options_of(self.config, split)
        dataset: CombinedDataset = getattr(self.organizer, split).with_default_seed(self.seed)
        if not len(dataset):
            raise UserError(f"dataset.{split} has no utterances")
        sampler = EpochBatchSampler(
            self._plan(split, dataset, options, epoch if dealt_before else None, dealt_before),
            epoch=epoch if split == "train" else 0,
            start_batch=start_batch,
            fixed_epoch=split == "valid",
        )
        # Without its own generator each iterator draws from the global one, and a resumed run would differ.
        generator = torch.Generator()
        generator.manual_seed(derived_seed(self.seed, self.rank, split, "workers") % 2**63)
        given = {
            "pin_memory": uses_gpu(),
            **_loader_options(options, f"dataloader.{split}"),
        }
        if given.get("num_workers") and "multiprocessing_context" not in given:
            init = given.get("worker_init_fn")
            given |= worker_options(self.world_size, dataset.modules(), init)
            if self.world_size > 1:
                check_can_be_sent(f"dataloader.{split}", dataset, self.collate_fn, init)
        return DataLoader(
            dataset, batch_sampler=sampler, collate_fn=self.collate_fn, generator=generator, **given
        )

    def _plan(
        self,
        split: str,
        dataset: CombinedDataset,
        options: DictConfig,
        resumed_epoch: int | None,
        dealt_before: Sequence[Deal],
    ) -> Callable[[int], list[Batch]]:
        """From an epoch to this rank's batches; of `resumed_epoch` those done before are empty."""
        whole_epoch = self._whole_epoch(split, dataset, options)

        def plan(epoch: int) -> list[Batch]:
            batches = whole_epoch(epoch)
            if not batches:
                raise UserError(f"dataloader.{split}: drop_last leaves none of {len(dataset)} utterances")
            if epoch == resumed_epoch:
                rest = fit_rest_to_world_size(left_after(batches, dealt_before), self.world_size)
                before: list[Batch] = [()] * sum(deal.batches for deal in dealt_before)
                return before + batches_of_rank(rest, self.rank, self.world_size)
            try:
                fitted = fit_to_world_size(batches, self.world_size, uneven=split == "valid")
            except ValueError as error:
                raise UserError(f"dataloader.{split}: {error}; every rank needs one in each epoch") from error
            return batches_of_rank(fitted, self.rank, self.world_size)

        return plan

    def _whole_epoch(
        self, split: str, dataset: CombinedDataset, options: DictConfig
    ) -> Callable[[int], list[Batch]]:
        """From an epoch to the batches of all ranks."""
        train = split == "train"
        if options.get("iter_factory") is None:
            is_shuffled = train and options.get("shuffle") is not False
            size, drop_last = options.get("batch_size", 1), bool(options.get("drop_last"))
            return lambda epoch: plain_batches(
                len(dataset), size, drop_last=drop_last, shuffle=is_shuffled, seed=self.seed, epoch=epoch
            )
        where = f"dataloader.{split}.iter_factory"
        factory = _instantiate(options.iter_factory, where, iterable=True)
        if hasattr(factory, "build_iter"):
            raise UserError(
                f"{where} makes a {type(factory).__name__}, which makes loaders of its own; give its"
                " `batches` in its place, such as espnet2.samplers.build_batch_sampler.build_batch_sampler"
            )
        shuffle = getattr(factory, "shuffle", None)
        if shuffle and not train:
            raise UserError(f"{where}.shuffle: validation is never shuffled")
        made = factory(dataset.uids()) if callable(factory) else factory
        batches = [_indexes(batch, dataset, where) for batch in made]
        if sorted(index for batch in batches for index in batch) != list(range(len(dataset))):
            raise UserError(f"{where}: its batches do not hold each of {len(dataset)} utterances once")
        if train and shuffle is not False:
            return lambda epoch: shuffled(batches, seed=self.seed, epoch=epoch)
        return lambda epoch: batches


def build_collate_fn(config: Block) -> Callable[[Any], Any]:
    """The `collate_fn` of a `dataloader` block, by default `CommonCollateFn(int_pad_value=-1)`."""
    node = as_config(config).get("collate_fn")
    if node is None:
        return CommonCollateFn(int_pad_value=-1)
    collate_fn: Callable[[Any], Any] = _instantiate(node, "dataloader.collate_fn")
    return collate_fn


def _indexes(batch: Any, dataset: CombinedDataset, where: str) -> Batch:
    """The indexes of a batch of indexes or, as ESPnet's samplers make them, of uids."""
    try:
        return tuple(dataset.index(key) if isinstance(key, str) else key for key in batch)
    except KeyError as error:
        raise UserError(f"{where}: a batch has uid {error}, which is not in the data") from None


def _loader_options(options: DictConfig, where: str) -> dict[str, Any]:
    """The options passed on to DataLoader; those for workers only if there are any."""
    given = {key: options[key] for key in LOADER_OPTIONS if options.get(key) is not None}
    if not given.get("num_workers"):
        given = {key: value for key, value in given.items() if key not in WORKER_OPTIONS}
    if "worker_init_fn" in given:
        given["worker_init_fn"] = _instantiate(given["worker_init_fn"], f"{where}.worker_init_fn")
    return given


def _instantiate(node: Any, where: str, *, iterable: bool = False) -> Any:
    """Instantiate a node; anything else is returned as it is. It can be called, or perhaps iterated over."""
    instance = node
    if isinstance(node, DictConfig):
        if "_target_" not in node:
            raise UserError(f"{where} has no _target_")
        try:
            instance = instantiate_node(node)
        except InstantiationException as error:
            raise UserError(f"{where}: {error.__cause__ or error}") from error
    if not callable(instance) and not (iterable and hasattr(instance, "__iter__")):
        raise UserError(f"{where} makes a {type(instance).__name__}, which cannot be called")
    return instance
