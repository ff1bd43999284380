"""ESPnetLightningModule: a model, its data and its optimizer as one LightningModule."""

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader

from espnet3.components.checkpoint.epoch_start import begin_with_whole_epoch
from espnet3.components.data.batching import Deal
from espnet3.components.modeling.batch_log import log_batch
from espnet3.components.modeling.control import agree
from espnet3.components.modeling.metric_sums import MetricSums, means_of
from espnet3.components.modeling.model_output import ModelOutput, read_batch, read_output
from espnet3.components.modeling.monitored_metric import monitored_value
from espnet3.components.modeling.named.routing import all_finite
from espnet3.components.modeling.named_training import NamedTraining, refuse_named
from espnet3.components.modeling.optimizer_config import (
    given,
    is_named,
    make_optimizer,
    make_scheduler,
    read_optimizer_config,
)
from espnet3.components.modeling.skippable_optimization import SkippableOptimization
from espnet3.components.modeling.training_summary import training_summary
from espnet3.components.trainers.named_optimizers import DDPWithoutReducer

log = logging.getLogger(__name__)

SKIPPED = "skipped_batches"
"""Validation batches whose loss was NaN or Inf are counted as `valid/skipped_batches`."""


class ESPnetLightningModule(SkippableOptimization):
    """Trains `model`, whose forward returns `loss, stats, weight`, with one optimizer or with named ones.

    A batch is `(uids, data)`; the model gets `model(**data)` and returns a loss, a dict of scalar
    statistics, each logged as `train/<key>` or `valid/<key>` (those that are None are left out), and how
    much the batch counts in their means (None: its number of utterances).

    With `optimizer` in the configuration the loss is a scalar tensor, and Lightning's automatic
    optimization trains. With `optimizers` it is an OptimizationStep or a list of them, and only the named
    optimizers are touched: see `named_training`. Every loss is then also logged, as `train/<name>/loss` and
    `valid/<name>/loss`, with `train/<name>/lr`, `update_step` and, where clipping computes it, `grad_norm`.

    A batch with a loss of NaN or Inf on any rank is skipped on all: no parameter, gradient, optimizer state
    or scheduler moves. More than 100 in a row end the training with RuntimeError.

    Args:
        model: any `torch.nn.Module` as above; with `collect_feats(**data)` for `collect_stats()`.
        config: `dataset`, `dataloader`, `optimizer`, `scheduler`, `scheduler_interval` (step or epoch),
            `scheduler_monitor`, or `optimizers`, `schedulers`; `stats_dir`, `exp_dir`, `seed`; a DictConfig
            or a dict.
    """

    def __init__(self, model: torch.nn.Module, config: Any) -> None:
        super().__init__(model)
        self.config = config
        self.stop_requested: Callable[[], bool] = lambda: False
        """Asked once per training batch; what any rank answers, all learn: see `stop_agreed`."""
        self.stop_agreed = False
        self.save_requested: Callable[[], bool] = lambda: False
        """Asked with it: whether a checkpoint is due; see `save_agreed`."""
        self.save_agreed = False
        self.position = (0, 0)
        """(epoch, next batch) that training would go on with after the last batch that was run."""
        self.dealt_before: tuple[Deal, ...] = ()
        """How the batches of the epoch of `position` were dealt to other numbers of ranks before."""
        self.train_sums = MetricSums()
        self.valid_sums = MetricSums()
        self.named = NamedTraining(config) if given(config, "optimizers") is not None else None
        """The named optimizers, if they are configured."""
        self.automatic_optimization = self.named is None
        self.validated = False
        """Whether a validation was done in this epoch."""
        self._mean_of_epoch: dict[str, int] = {}
        self._shown: dict[str, Tensor] = {}
        self._organizer: Any = None

    # --- data -----------------------------------------------------------------------------------------

    @property
    def organizer(self) -> Any:
        """The DataOrganizer of `config.dataset`, made when it is first asked for."""
        if self._organizer is None:
            from espnet3.components.data.data_organizer import build_organizer

            self._organizer = build_organizer(self.config["dataset"])
        return self._organizer

    def setup(self, stage: str) -> None:
        """Keep Lightning from putting a sampler of its own into loaders that deal the data over the ranks."""
        self.trainer._accelerator_connector.use_distributed_sampler = False

    def train_dataloader(self) -> DataLoader[Any]:
        """The training data of this rank; on a resumed run it begins where the run had stopped."""
        epoch, start_batch = self.position
        if not start_batch and self._trainer is not None:
            begin_with_whole_epoch(self._trainer)
        dealt: dict[str, Any] = {"dealt_before": self.dealt_before} if self.dealt_before else {}
        return self._build_loader("train", epoch=epoch, start_batch=start_batch, **dealt)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The validation data of this rank; an empty list without any."""
        return self._build_loader("valid") if len(self.organizer.valid) else []

    def _build_loader(self, split: str, **where: Any) -> DataLoader[Any]:
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
        """Add where training would go on, and the counters of named optimizers."""
        own = Deal(self._world_size, self.position[1] - sum(deal.batches for deal in self.dealt_before))
        dealt = [[deal.world_size, deal.batches] for deal in (*self.dealt_before, own) if deal.batches]
        checkpoint["espnet3"] = {"position": list(self.position), "dealt": dealt}
        if self.named is not None:
            self.named.save(checkpoint["espnet3"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take where training goes on, if the checkpoint says, and the counters of named optimizers.

        Raises:
            UserError: the checkpoint is of other named optimizers; the message has both lists.
        """
        own = checkpoint.get("espnet3", {})
        if self.named is not None:
            self.named.load(own, checkpoint)
        else:
            refuse_named(own)
        epoch, batch = own.get("position", (0, 0))
        self.position = (int(epoch), int(batch))
        dealt = [Deal(int(world_size), int(batches)) for world_size, batches in own.get("dealt", ())]
        if dealt and dealt[-1].world_size == self._world_size:
            dealt.pop()
        self.dealt_before = tuple(dealt)

    def progress_state(self) -> dict[str, Any]:
        """What this rank's epoch has come to so far, as plain data."""
        return {
            "train_sums": self.train_sums.state_dict(),
            "window": self.window.state_dict(),
            "validated": self.validated,
            "mean_of_epoch": dict(self._mean_of_epoch),
            "shown": {key: value.detach().cpu() for key, value in self._shown.items()},
        }

    def load_progress_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `progress_state` gave."""
        self.train_sums.load_state_dict(state["train_sums"])
        self.window.load_state_dict(state["window"])
        self.validated = state["validated"]
        self._mean_of_epoch = dict(state["mean_of_epoch"])
        self._shown = {key: value.to(self.device) for key, value in state["shown"].items()}

    # --- training ---------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """Run the model on a batch; one loss goes to Lightning's automatic optimization, named ones are run.

        Raises:
            AssertionError: the batch or what the model returned breaks the contract, or ranks name
                different optimizers.
            RuntimeError: too many batches in a row were skipped.
        """
        self.before_forward()
        uids, data = read_batch(batch)
        output, verdict = self._agree(self.model(**data), len(uids))
        self.stop_agreed, self.save_agreed = bool(verdict["stop"]), bool(verdict["save"])
        self.position = (self.current_epoch, batch_idx + 1)
        loss = output.loss if self.named is None else None
        if self.skip_if(bool(verdict["nonfinite"]), batch_idx):
            self._shown = {}
            return loss
        self.train_sums.add(output.stats, output.weight)
        shown = output.stats
        if self.named is not None:
            self.window.accept()
            shown = {**shown, **self.named.run(output.loss)}
            self.window.held = self.named.held
        # A row repeats what this batch has nothing new about, such as the norm of the last update.
        self._shown = {**self._shown, **shown}
        log_batch(self, self._shown, output.weight, prog_bar=self._on_bar)
        return loss

    def _agree(self, returned: Any, utterances: int) -> tuple[ModelOutput[Any], dict[str, int]]:
        """Check what the model returned, and learn what all ranks must know about the batch."""
        flags: dict[str, Any] = {"stop": self.stop_requested(), "save": self.save_requested()}
        if self.named is not None:
            return self.named.agree(returned, utterances, flags, self.device, self._trainer)
        output = read_output(returned, utterances)
        values = {"nonfinite": ~torch.isfinite(output.loss.detach()), **flags}
        return output, agree(values, device=output.loss.device, world_size=self._world_size)

    def on_fit_start(self) -> None:
        """Take a monitored epoch-interval scheduler out of Lightning's hands: see `on_train_epoch_end`."""
        if self.named is not None:
            self.named.connect(self.trainer)
            return
        if isinstance(self.trainer.strategy, DDPWithoutReducer):
            self.reduce_gradients()
        for config in self.trainer.lr_scheduler_configs:
            if config.reduce_on_plateau and config.interval == "epoch":
                config.frequency = sys.maxsize

    def on_train_start(self) -> None:
        """Log what is trained, once."""
        if self.named is not None:
            self.named.begin()
        if self.trainer.is_global_zero:
            log.info("%s", training_summary(self.model, self.trainer))

    def on_train_epoch_start(self) -> None:
        """Nothing was validated or shown in this epoch yet."""
        self.validated = False
        self._shown = {}

    def on_train_epoch_end(self) -> None:
        """Log the means over the epoch, then move a scheduler that monitors a metric.

        Lightning would move it after the epoch's checkpoint was written, so that a resumed run lost the move.
        """
        is_whole = self.trainer.fit_loop.epoch_loop._num_ready_batches_reached()
        if is_whole:
            self.position = (self.current_epoch + 1, 0)
            if self.dealt_before:  # the next epoch has another length: Lightning is to ask for its data again
                self.dealt_before = ()
                self.trainer.fit_loop._combined_loader = None
        for key, mean in self.train_sums.means(self.device, self._world_size).items():
            # Monitors and the screen get the mean under the key itself; loggers have the batches there.
            self._log_mean(f"train/{key}", mean, logger=False, prog_bar=True)
            if is_whole:  # a part, which max_steps has cut off, may be continued by a larger one
                self._log_mean(f"train/{key}_epoch", mean)
        self.train_sums.reset()
        if self.named is not None:
            self.named.engine.end_epoch(self._new_value)
            return
        for config in self.trainer.lr_scheduler_configs:
            if config.reduce_on_plateau and config.interval == "epoch":
                value = self._new_value("scheduler_monitor", str(config.monitor))
                if value is not None:
                    self.lr_scheduler_step(config.scheduler, value)

    def _new_value(self, key: str, monitor: str) -> Tensor | None:
        """The value that this epoch gave the metric `monitor`, which the configuration's `key` names."""
        value = monitored_value(self.trainer, key, monitor, validated=self.validated)
        # A mean of ours may be an older epoch's: that of a loss which no batch of this one returned.
        return value if self._mean_of_epoch.get(monitor, self.current_epoch) == self.current_epoch else None

    def on_fit_end(self) -> None:
        """Training is over."""
        if self.named is not None:
            self.named.engine.disconnect()
        self.stop_reducing()

    # --- validation -----------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Begin with empty sums."""
        self.valid_sums.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Run the model on a batch and add its statistics; one with a NaN or Inf loss is only counted.

        A request to stop ends the loop here: the state from before the validation is saved, which the
        resumed run does as a whole.
        """
        if (
            self._trainer is not None
            and self._trainer.state.fn == TrainerFn.FITTING
            and self.stop_requested()
        ):
            raise StopIteration
        uids, data = read_batch(batch)
        returned = self.model(**data)
        output: ModelOutput[Any]
        if self.named is not None:
            output = self.named.read(returned, len(uids))
            finite = all_finite(output.loss)
        else:
            output = read_output(returned, len(uids))
            finite = torch.isfinite(output.loss.detach())
        self.valid_sums.add(output.stats, output.weight, accepted=finite)
        self.valid_sums.add({SKIPPED: (~finite).float()}, 1.0)

    def on_validation_epoch_end(self) -> None:
        """Reduce the sums over ranks, once, and log the means."""
        totals = self.valid_sums.totals(self.device, self._world_size)
        self.valid_sums.reset()
        self.validated = True
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
        """Make the optimizer for the trainable parameters, and the scheduler if one is given; or named ones.

        Raises:
            AssertionError: single and named keys are mixed, the model has no trainable parameter, the
                interval is unknown, or a ReduceLROnPlateau has no `scheduler_monitor`; for named ones see
                `NamedTraining.configure`.
            ValueError: no optimizer is given.
            RuntimeError: named optimizers with a strategy that cannot run them.
        """
        if is_named(self.config):
            assert self.named is not None
            return self.named.configure(self.model, self._trainer)
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

    def _log_mean(self, key: str, mean: Tensor, **where: Any) -> None:
        """Log what is equal on all ranks already; sync_dist tells Lightning so."""
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self._mean_of_epoch[key] = self.current_epoch
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
