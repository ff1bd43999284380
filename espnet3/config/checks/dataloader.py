"""Checks the keys of the `dataloader:` block before any data exists.

`train` and `valid` hold options of torch's DataLoader, or both hold `iter_factory` next to the options that
do not concern batches; see `espnet3.components.data.loading.dataloader_builder`, which builds the loaders.
"""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.errors import ConfigurationError, UserError, suggestion

SPLITS = ("train", "valid")
KEYS = ("collate_fn", *SPLITS)
BATCH_OPTIONS = ("batch_size", "shuffle", "drop_last")
WORKER_OPTIONS = ("prefetch_factor", "persistent_workers", "timeout", "multiprocessing_context")
LOADER_OPTIONS = ("num_workers", "pin_memory", "pin_memory_device", "worker_init_fn", *WORKER_OPTIONS)
OPTIONS = ("iter_factory", *BATCH_OPTIONS, *LOADER_OPTIONS)
REFUSED = {
    "sampler": "the order of the data is planned for all ranks by (seed, epoch); use iter_factory",
    "batch_sampler": "batches are planned for all ranks by (seed, epoch); use iter_factory",
    "dataset": "the data is what `dataset:` describes",
    "collate_fn": "it is given once, as dataloader.collate_fn",
    "generator": "a loader has its own, seeded by `seed`",
    "in_order": "batches in the order of their arrival could not be resumed",
}

Block = DictConfig | Mapping[str, Any] | None


def check_dataloader_config(config: Block) -> None:
    """Refuse a `dataloader` block that cannot be built, before any data exists.

    Raises:
        UserError: an unknown or refused option, naming the key and the nearest valid one.
        ConfigurationError: only one of train and valid has an `iter_factory`.
    """
    config = as_config(config)
    _check_known("dataloader", config, KEYS, {})
    for split in SPLITS:
        _check_options(split, options_of(config, split))
    bucketed = {split: options_of(config, split).get("iter_factory") is not None for split in SPLITS}
    if bucketed["train"] != bucketed["valid"]:
        raise ConfigurationError(
            "Train and valid should have the same type of dataloader: iter_factory is given for"
            f" {'train' if bucketed['train'] else 'valid'} only"
        )


def as_config(config: Block) -> DictConfig:
    """The block as a DictConfig, empty if there is none; values may be any object."""
    if isinstance(config, DictConfig):
        return config
    return OmegaConf.create(dict(config or {}), flags={"allow_objects": True})


def options_of(config: DictConfig, split: str) -> DictConfig:
    """The options of `train` or `valid` in the block.

    Raises:
        UserError: the value is not a group of options.
    """
    options = config.get(split)
    if options is None:
        return OmegaConf.create({})
    if not isinstance(options, DictConfig):
        raise UserError(f"dataloader.{split} must hold options, given: {options!r}")
    return options


def _check_options(split: str, options: DictConfig) -> None:
    where = f"dataloader.{split}"
    _check_known(where, options, OPTIONS, REFUSED)
    workers = options.get("num_workers")
    if workers is not None and not _is_at_least(workers, 0):
        raise UserError(f"{where}.num_workers must be an integer of at least 0, given: {workers!r}")
    if options.get("iter_factory") is not None:
        for key in BATCH_OPTIONS:
            if options.get(key) is not None:
                raise UserError(f"{where}.{key} has no meaning beside iter_factory, which makes the batches")
        return
    size = options.get("batch_size", 1)
    if not _is_at_least(size, 1):
        raise UserError(f"{where}.batch_size must be an integer of at least 1, given: {size!r}")
    if split == "valid":
        if options.get("shuffle"):
            raise UserError(f"{where}.shuffle: validation is never shuffled")
        if options.get("drop_last"):
            raise UserError(f"{where}.drop_last: each utterance of validation counts once")


def _is_at_least(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_known(where: str, config: DictConfig, known: tuple[str, ...], refused: dict[str, str]) -> None:
    for key in map(str, config):
        if key in refused:
            raise UserError(f"{where}.{key} cannot be given: {refused[key]}")
        if key not in known:
            hint = suggestion(key, known, prefix=f"{where}.")
            raise UserError(f"{where}.{key}: no such option; {hint}")
