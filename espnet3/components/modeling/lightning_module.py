"""ESPnetLightningModule: a model, its data and its optimizer as one LightningModule."""

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from espnet3.components.checkpoint.epoch_start import begin_with_whole_epoch
from espnet3.components.modeling.control import agree
from espnet3.components.modeling.metric_sums import MetricSums, means_of
from espnet3.components.modeling.model_output import ModelOutput, read_batch, read_output
from espnet3.components.modeling.monitored_metric import monitored_value
from espnet3.components.modeling.optimizer_config import (
    given,
    make_optimizer,
    make_scheduler,
    read_optimizer_config,
)
from espnet3.components.modeling.skippable_optimization import SkippableOptimization
from espnet3.components.modeling.training_summary import training_summary

log = logging.getLogger(__name__)

SKIPPED = "skipped_batches"
"""Validation batches whose loss was NaN or Inf are counted as `valid/skipped_batches`."""


class ESPnetLightningModule(SkippableOptimization):
    """Trains `model`, whose forward returns `loss, stats, weight`, with one optimizer.

    A batch is `(uids, data)`; the model gets `model(**data)` and returns a scalar loss, a dict of scalar
    statistics, each logged as `train/<key>` or `valid/<key>` (those that are None are left out), and how
    much the batch counts in their means (None: its number of utterances).

    A batch whose loss is NaN or Inf on any rank is skipped on all: no parameter, gradient, optimizer state
    or scheduler moves. More than 100 in a row end the training with RuntimeError.

    Args:
        model: any `torch.nn.Module` as above; with `collect_feats(**data)` for `collect_stats()`.
        config: `dataset`, `dataloader`, `optimizer`, `scheduler`, `scheduler_interval` (step or epoch),
            `scheduler_monitor`, `stats_dir`, `exp_dir`, `seed`; a DictConfig or a dict.
    """

    def __init__(self, model: torch.nn.Module, config: Any) -> None:
        super().__init__(model)
        self.config = config
        self.stop_requested: Callable[[], bool] = lambda: False
        """Asked once per training batch; what any rank answers, all learn: see `stop_agreed`."""
        self.stop_agreed = False
        self.position = (0, 0)
        """(epoch, next batch) that training would go on with after the last batch that was run."""
        self.train_sums = MetricSums()
        self.valid_sums = MetricSums()
        self._validated = False
        self._organizer: Any = None

    # --- data -----------------------------------------------------------------------------------------

    @property
    def organizer(self) -> Any:
        """The DataOrganizer of `config.dataset`, made when it is first asked for."""
        if self._organizer is None:
            from espnet3.components.data.data_organizer import build_organizer

            self._organizer = build_organizer(self.config["dataset"])
        return self._organizer

    def train_dataloader(self) -> DataLoader[Any]:
        """The training data of this rank; on a resumed run it begins where the run had stopped."""
        epoch, start_batch = self.position
        if not start_batch and self._trainer is not None:
            begin_with_whole_epoch(self._trainer)
        return self._build_loader("train", epoch=epoch, start_batch=start_batch)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The validation data of this rank; an empty list without any."""
        return self._build_loader("valid") if len(self.organizer.valid) else []

    def _build_loader(self, split: str, **where: int) -> DataLoader[Any]:
        from espnet3.components.data.dataloader_builder import DataLoaderBuilder

        builder = DataLoaderBuilder(
            self.organizer,
            self.config["dataloader"],
            seed=given(self.config, "seed") or 0,
            rank=self._trainer.global_rank if self._trainer else 0,
            world_size=self._world_size,
        )
        loader: DataLoader[Any] = builder.build(split, **where)
        return loader

    def collect_stats(self) -> None:
        """Collect the statistics of the training and validation data into `config.stats_dir`.

        Raises:
            AssertionError: `config.stats_dir` is not given.
        """
        from espnet3.components.data.collect_stats import collect_stats
        from espnet3.components.data.dataloader_builder import build_collate_fn

        stats_dir = given(self.config, "stats_dir")
        if not stats_dir:
            raise AssertionError(f"collect_stats() needs config.stats_dir; given: {stats_dir!r}")
        options = given(self.config, "collect_stats") or {}
        collect_stats(
            self.model,
            self.organizer,
            stats_dir=stats_dir,
            collate_fn=build_collate_fn(given(self.config, "dataloader")),
            batch_size=given(options, "batch_size") or 16,
            num_workers=given(options, "num_workers") or 0,
        )

    # --- weights and checkpoints ------------------------------------------------------------------------

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The model's own: no key has a prefix of this module's."""
        state: dict[str, Any] = self.model.state_dict(*args, **kwargs)
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load what `state_dict()` or the model's own gave."""
        return self.model.load_state_dict(state_dict, strict=strict, assign=assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add where training would go on."""
        checkpoint["espnet3"] = {"position": list(self.position)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take where training goes on, if the checkpoint says."""
        epoch, batch = checkpoint.get("espnet3", {}).get("position", (0, 0))
        self.position = (int(epoch), int(batch))

    # --- training ---------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Run the model on a batch; the loss goes to Lightning's automatic optimization.

        Raises:
            AssertionError: the batch or what the model returned breaks the contract.
            RuntimeError: too many batches in a row were skipped.
        """
        self.before_forward()
        output = self._run_model(batch)
        verdict = agree(
            {"nonfinite": ~torch.isfinite(output.loss.detach()), "stop": self.stop_requested()},
            device=output.loss.device,
            world_size=self._world_size,
        )
        self.stop_agreed = bool(verdict["stop"])
        self.position = (self.current_epoch, batch_idx + 1)
        if self.skip_if(bool(verdict["nonfinite"]), batch_idx):
            return output.loss
        self.train_sums.add(output.stats, output.weight)
        for key, value in output.stats.items():
            self.log(
                f"train/{key}",
                value,
                on_step=True,
                on_epoch=False,
                prog_bar=self._on_bar,
                batch_size=output.weight,  # type: ignore[arg-type]  # a tensor stays one: nothing is read back
            )
        return output.loss

    def on_fit_start(self) -> None:
        """Take a monitored epoch-interval scheduler out of Lightning's hands: see `on_train_epoch_end`."""
        for config in self.trainer.lr_scheduler_configs:
            if config.reduce_on_plateau and config.interval == "epoch":
                config.frequency = sys.maxsize

    def on_train_start(self) -> None:
        """Log what is trained, once."""
        if self.trainer.is_global_zero:
            log.info("%s", training_summary(self.model, self.trainer))

    def on_train_epoch_start(self) -> None:
        """Nothing was validated in this epoch yet."""
        self._validated = False

    def on_train_epoch_end(self) -> None:
        """Log the means over the epoch, then move a scheduler that monitors a metric.

        Lightning would move it after the epoch's checkpoint was written, so that a resumed run lost the move.
        """
        if self.trainer.fit_loop.epoch_loop._num_ready_batches_reached():
            self.position = (self.current_epoch + 1, 0)
        for key, mean in self.train_sums.means(self.device, self._world_size).items():
            # Monitors and the screen get the mean under the key itself; loggers have the batches there.
            self._log_mean(f"train/{key}", mean, logger=False, prog_bar=True)
            self._log_mean(f"train/{key}_epoch", mean)
        self.train_sums.reset()
        for config in self.trainer.lr_scheduler_configs:
            if config.reduce_on_plateau and config.interval == "epoch":
                monitor = str(config.monitor)
                value = monitored_value(self.trainer, "scheduler_monitor", monitor, validated=self._validated)
                if value is not None:
                    self.lr_scheduler_step(config.scheduler, value)

    # --- validation -----------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Begin with empty sums."""
        self.valid_sums.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Run the model on a batch and add its statistics; one with a NaN or Inf loss is only counted."""
        output = self._run_model(batch)
        finite = torch.isfinite(output.loss.detach())
        self.valid_sums.add(output.stats, output.weight, accepted=finite)
        self.valid_sums.add({SKIPPED: (~finite).float()}, 1.0)

    def on_validation_epoch_end(self) -> None:
        """Reduce the sums over ranks, once, and log the means."""
        totals = self.valid_sums.totals(self.device, self._world_size)
        self.valid_sums.reset()
        self._validated = True
        skipped, batches = totals.pop(SKIPPED, torch.zeros(2)).tolist()
        for key, mean in means_of(totals).items():
            self._log_mean(f"valid/{key}", mean, prog_bar=True)
        if skipped:
            self._log_mean(f"valid/{SKIPPED}", torch.tensor(skipped))
            log.warning(
                "epoch %d: %d of %d validation batches have a loss of NaN or Inf; the metrics leave them out",
                self.current_epoch + 1,
                skipped,
                batches,
            )

    # --- optimizer and scheduler ----------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Make the optimizer for the trainable parameters, and the scheduler if one is given.

        Raises:
            AssertionError: single and named keys are mixed, the model has no trainable parameter, the
                interval is unknown, or a ReduceLROnPlateau has no `scheduler_monitor`.
            ValueError: no optimizer is given.
        """
        config = read_optimizer_config(self.config)
        self.scheduler_interval = config.interval
        optimizer = make_optimizer(config, self.model.parameters())
        scheduler = make_scheduler(config, optimizer)
        return (
            {"optimizer": optimizer}
            if scheduler is None
            else {"optimizer": optimizer, "lr_scheduler": scheduler}
        )

    # ------------------------------------------------------------------------------------------------------

    def _run_model(self, batch: Any) -> ModelOutput:
        uids, data = read_batch(batch)
        return read_output(self.model(**data), len(uids))

    def _log_mean(self, key: str, mean: Tensor, **where: Any) -> None:
        """Log what is equal on all ranks already; sync_dist tells Lightning so."""
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.log(
            key,
            mean.to(self.device, dtype),
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=1,
            **where,
        )

    @property
    def _world_size(self) -> int:
        return self._trainer.world_size if self._trainer is not None else 1

    @property
    def _on_bar(self) -> bool:
        """Whether statistics of a batch go to Lightning's progress bar.

        It reads each of them from the device for every batch. That costs nothing on the CPU; elsewhere
        only a bar that shows them is worth it.
        """
        if self.device.type == "cpu" or self._trainer is None:
            return True
        return self._trainer.progress_bar_callback is not None
