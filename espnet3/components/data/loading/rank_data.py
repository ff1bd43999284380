"""The data of one rank of a training, from the configuration: its organizer and its loaders."""

from functools import cached_property
from typing import Any

from torch.nn import Module
from torch.utils.data import DataLoader

from espnet3.components.data.checking.left_out import build_usable
from espnet3.components.data.collect_stats import collect_stats
from espnet3.components.data.data_organizer import DataOrganizer
from espnet3.components.data.loading.dataloader_builder import DataLoaderBuilder, build_collate_fn
from espnet3.config.config_value import config_value
from espnet3.errors import UserError


class RankData:
    """Makes what `dataset`, `dataloader`, `collect_stats` and `seed` describe, on first use.

    Args:
        config: the whole configuration; a DictConfig, a dict or a namespace.
    """

    def __init__(self, config: Any) -> None:
        self._config = config

    @cached_property
    def organizer(self) -> DataOrganizer:
        """The DataOrganizer of `dataset`, without test sets.

        Raises:
            UserError: `dataset` is not given.
        """
        if config_value(self._config, "dataset") is None:
            raise UserError("dataset is not given: configure it, or call fit(module, train_dataloaders=…)")
        return build_usable(self._config, test=False)

    def loader(self, split: str, *, rank: int, world_size: int, **begin: Any) -> DataLoader[Any] | list[Any]:
        """The share of this rank in `train` or `valid`; an empty list without validation data.

        Args:
            split: which data.
            rank: whose share.
            world_size: number of ranks that the batches are dealt to.
            begin: where it starts; see `DataLoaderBuilder.build`.
        """
        if split == "valid" and (self._has_no_dataset() or not len(self.organizer.valid)):
            return []
        builder = DataLoaderBuilder(
            self.organizer,
            config_value(self._config, "dataloader"),
            seed=config_value(self._config, "seed") or 0,
            rank=rank,
            world_size=world_size,
        )
        loader: DataLoader[Any] = builder.build(split, **begin)
        return loader

    def _has_no_dataset(self) -> bool:
        """Whether the data is that of `fit(train_dataloaders=…)`, and `organizer` not set either."""
        return "organizer" not in vars(self) and config_value(self._config, "dataset") is None

    def collect_stats(self, model: Module) -> None:
        """Collect the statistics of the training and validation data into `stats_dir`.

        Raises:
            AssertionError: `stats_dir` is not given.
        """
        stats_dir = config_value(self._config, "stats_dir")
        if not stats_dir:
            raise AssertionError(f"collect_stats() needs config.stats_dir; given: {stats_dir!r}")
        options = config_value(self._config, "collect_stats") or {}
        collect_stats(
            model,
            self.organizer,
            stats_dir=stats_dir,
            collate_fn=build_collate_fn(config_value(self._config, "dataloader")),
            batch_size=config_value(options, "batch_size") or 16,
            num_workers=config_value(options, "num_workers") or 0,
        )
