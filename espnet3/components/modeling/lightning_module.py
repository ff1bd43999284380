"""ESPnetLightningModule: a model, its data and its optimizer as one LightningModule."""

import logging
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader

from espnet3.components.data.loading.rank_data import RankData
from espnet3.components.modeling.control import agree
from espnet3.components.modeling.data_position import DataPosition
from espnet3.components.modeling.divergence.finite import briefly, nonfinite_weights
from espnet3.components.modeling.divergence.skips import ADVICE, Place
from espnet3.components.modeling.metrics.epoch_metrics import EpochMetrics
from espnet3.components.modeling.metrics.training_summary import training_summary
from espnet3.components.modeling.model_output import is_batch, read_batch
from espnet3.components.modeling.named_training import NamedTraining
from espnet3.components.modeling.optimization import Optimization
from espnet3.components.modeling.single.single_training import SingleTraining
from espnet3.components.modeling.single.skippable_optimization import SkippableOptimization
from espnet3.components.modeling.training_length import TrainingLength, training_length
from espnet3.components.trainers.lightning_internals import (
    ask_for_training_data_again,
    attached_trainer,
    begin_with_whole_epoch,
    given_training_data,
    is_last_batch,
    leave_samplers_alone,
)
from espnet3.config.checks.optimizers import is_named
from espnet3.config.checks.trainer_keys import nonfinite_gradients
from espnet3.config.config_value import config_value
from espnet3.errors import Diverged

log = logging.getLogger(__name__)


class ESPnetLightningModule(SkippableOptimization):
    """Trains `model`, whose forward returns `loss, stats, weight`, with one optimizer or with named ones.

    A batch is `(uids, data)`; the model gets `model(**data)` and returns a loss, a dict of statistics, each
    logged as `train/<key>` or `valid/<key>` (those that are None are left out), and how much the batch counts
    in their means (None: its number of utterances). A statistic is a scalar, or a `Ratio` whose parts are
    added up over batches and divided once, as an error rate is.

    With `optimizer` in the configuration the loss is a scalar tensor, and Lightning's automatic
    optimization trains. With `optimizers` it is an OptimizationStep or a list of them, and only the named
    optimizers are touched: see `named_training`. Every loss is then also logged, as `train/<name>/loss` and
    `valid/<name>/loss`, with `train/<name>/lr`, `update_step` and, where clipping computes it, `grad_norm`.

    A batch with a loss of NaN or Inf on any rank is skipped on all: no parameter, gradient, optimizer state
    or scheduler moves. Nor does any with gradients of NaN or Inf, which are dropped and counted as
    `train/nonfinite_gradients` or `train/<name>/nonfinite_gradients` of the epoch. More than 100 in a row, a
    whole epoch, or weights that are not finite at the end of an epoch end the training with Diverged.

    Each `fit` begins afresh, apart from the weights, unless it has a `ckpt_path`. A subclass that overrides a
    hook that this class has calls `super()`; it need not for those around backward passes and updates.

    Args:
        model: any `torch.nn.Module` as above; with `collect_feats(**data)` for `collect_stats()`.
        config: `dataset`, `dataloader`, `optimizer`, `scheduler`, `scheduler_interval` (step or epoch),
            `scheduler_monitor`, or `optimizers`, `schedulers`; `stats_dir`, `exp_dir`, `seed`;
            `trainer.nonfinite_gradients` (skip, error or ignore); a DictConfig or a dict.
    """

    def __init__(self, model: torch.nn.Module, config: Any) -> None:
        super().__init__(model)
        self.config = config
        self.stop_requested: Callable[[], bool] = _never
        """Called once per training batch; true on any rank sets `stop_agreed` on all."""
        self.stop_agreed = False
        self.save_requested: Callable[[], bool] = _never
        """Called with it: whether a checkpoint is due; true on any rank sets `save_agreed` on all."""
        self.save_agreed = False
        self.data = RankData(config)
        self.place = DataPosition()
        self.metrics = EpochMetrics(self)
        self.named = NamedTraining(config) if config_value(config, "optimizers") is not None else None
        """The named optimizers, if they are configured."""
        self.optimization: Optimization = self.named or SingleTraining(config)
        """How a batch trains: by named optimizers, or by a single one."""
        self.automatic_optimization = self.named is None
        self.nonfinite_gradients = nonfinite_gradients(config)

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, next batch) that training continues with after the last batch that was run."""
        return self.place.epoch, self.place.batch

    @property
    def validated(self) -> bool:
        """Whether a validation was done in this epoch."""
        return self.metrics.validated

    def setup(self, stage: str) -> None:
        """Begin a training afresh: an earlier one, a validation or `load_from_checkpoint` leaves it nothing.

        What the checkpoint of `fit(ckpt_path=…)` holds is restored after this.
        """
        if stage != TrainerFn.FITTING:
            return
        self.reset_window()
        self.stop_agreed = self.save_agreed = False
        self.place = DataPosition(self.trainer.current_epoch)  # a Trainer's second fit counts on
        self.metrics = EpochMetrics(self)
        self.optimization.reset()

    # --- data and statistics ------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The training data of this rank; on a resumed run it begins where the run had stopped."""
        trainer = attached_trainer(self)
        if not self.place.batch and trainer is not None:
            begin_with_whole_epoch(trainer)
        return self._loader(
            "train",
            epoch=self.place.epoch,
            start_batch=self.place.batch,
            dealt_before=self.place.dealt_before,
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The validation data of this rank; an empty list without any."""
        return self._loader("valid")

    def _loader(self, split: str, **begin: Any) -> DataLoader[Any] | list[Any]:
        trainer = attached_trainer(self)
        rank = trainer.global_rank if trainer is not None else 0
        if trainer is not None:  # these loaders deal the data over the ranks themselves
            leave_samplers_alone(trainer)
        return self.data.loader(split, rank=rank, world_size=self._world_size, **begin)

    def collect_stats(self) -> None:
        """Collect the statistics of the training and validation data into `config.stats_dir`.

        Raises:
            AssertionError: `config.stats_dir` is not given.
        """
        self.data.collect_stats(self.model)

    # --- weights and checkpoints ------------------------------------------------------------------------

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The model's own state dict: no key has a prefix of this module."""
        state: dict[str, Any] = self.model.state_dict(*args, **kwargs)
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load what `state_dict()`, of this module or of the model, returned."""
        return self.model.load_state_dict(state_dict, strict=strict, assign=assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the position in the data, and the counters of named optimizers."""
        checkpoint["espnet3"] = self.place.state_dict(self._world_size)
        self.optimization.save(checkpoint["espnet3"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the position in the data, if the checkpoint has it, and the counters of named optimizers.

        Raises:
            UserError: the checkpoint is of other named optimizers; the message has both lists.
        """
        own = checkpoint.get("espnet3", {})
        self.optimization.load(own, checkpoint)
        self.place.load_state_dict(own, self._world_size)

    def progress_state(self) -> dict[str, Any]:
        """This rank's state within the epoch, as plain data."""
        return {
            **self.metrics.state_dict(),
            "window": self.window.state_dict(),
            "skips": self.skips.state_dict(),
        }

    def load_progress_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `progress_state` returned."""
        self.metrics.load_state_dict(state)
        self.window.load_state_dict(state["window"])
        if "skips" in state:  # not in checkpoints of version 0.1
            self.skips.load_state_dict(state["skips"])

    # --- optimizers and schedulers ------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Make the optimizer of the trainable parameters and its scheduler, if one is given; or named ones.

        Raises:
            AssertionError: single and named keys are mixed, the model has no trainable parameter, the
                interval is unknown, or a ReduceLROnPlateau has no `scheduler_monitor`; for named ones see
                `NamedTraining.configure`.
            ValueError: no optimizer is given.
            RuntimeError: named optimizers with a strategy that cannot run them.
        """
        is_named(self.config)  # raises where the keys of both are mixed
        return self.optimization.configure(self.model, attached_trainer(self), self._length)

    @property
    def optimizer_names(self) -> list[str]:
        """Names of the Trainer's optimizers, in its order; empty where there is a single, unnamed one."""
        return list(self.named.config.optimizers) if self.named else []

    def _length(self) -> TrainingLength:
        given = given_training_data(self.trainer)
        return training_length(self.trainer, len(self._loader("train") if given is None else given))

    # --- training ---------------------------------------------------------------------------------------

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the data of a batch: Lightning would look at each of its uids, too, and on the CPU in vain."""
        if not is_batch(batch):
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        if device.type == "cpu":
            return batch
        return batch[0], super().transfer_batch_to_device(batch[1], device, dataloader_idx)

    def on_train_start(self) -> None:
        """Prepare for training with this Trainer, and log what is trained, once.

        Not before: Lightning's search for a learning rate trains before `on_fit_start`.
        """
        super().on_train_start()
        self.optimization.connect(self.trainer)
        self.optimization.begin()
        if self.trainer.is_global_zero:
            log.info("%s", training_summary(self.model, self.trainer, self.optimizer_names))

    def on_train_epoch_start(self) -> None:
        """Reset the metrics of the epoch before."""
        self.metrics.begin_epoch()
        self.skips.begin_epoch()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """Run the model on a batch; one loss goes to Lightning's automatic optimization, named ones are run.

        Raises:
            AssertionError: the batch or what the model returned breaks the contract, or ranks name
                different optimizers.
            Diverged: too many batches, or updates of an optimizer, in a row were skipped.
        """
        self.before_forward()
        returned: Any
        try:
            uids, data = read_batch(batch)
            returned = self.model(**data)
        except AssertionError as error:  # agreed upon below: the other ranks would wait for this one
            uids, returned = [], error
        flags = {"stop": self.stop_requested(), "save": self.save_requested()}
        output, verdict, read = self.optimization.agree(
            returned, len(uids), flags, self.device, attached_trainer(self), self.metrics.to_read
        )
        self.stop_agreed, self.save_agreed = bool(verdict["stop"]), bool(verdict["save"])
        self.place.after_batch(self.current_epoch, batch_idx)
        if self.skip_if(bool(verdict["nonfinite"]), batch_idx):
            self.metrics.skip_batch()
        else:
            self.metrics.add_batch(output, self.optimization.run(output.loss), read)
            if self.named is not None:  # a single optimizer is still to be run
                for name, result in self.named.updates.items():
                    self.count_update(name, batch_idx, result)
        return output.loss if self.automatic_optimization else None

    def on_train_epoch_end(self) -> None:
        """Step epoch-based schedulers, after the means over the epoch are logged.

        Raises:
            Diverged: the whole epoch was skipped, or the weights are not finite.
        """
        is_whole = is_last_batch(self.trainer)
        if is_whole:
            self._check_epoch()
        if is_whole and self.place.after_epoch(self.current_epoch):
            ask_for_training_data_again(self.trainer)
        self.metrics.end_epoch(
            self._world_size, is_whole=is_whole, nonfinite=self.skips.nonfinite_gradients()
        )
        self.optimization.end_epoch(self.metrics.new_value)

    def _check_epoch(self) -> None:
        epoch = self.current_epoch + 1
        for line in self.skips.summary(epoch):
            log.warning("%s", line)
        holding = {"": self.window.held > 0} if self.named is None else self.named.holding()
        self.skips.end_epoch(holding)
        self.check_weights()

    def check_weights(self) -> None:
        """Fail if the weights are not finite, on all ranks: a collective.

        Raises:
            Diverged: naming the first parameters.
        """
        nonfinite = nonfinite_weights(self.model)
        agreed = agree({"nonfinite": bool(nonfinite)}, device=self.device, world_size=self._world_size)
        if agreed["nonfinite"]:
            place = Place(self.place.epoch + 1, self.place.batch)
            where = briefly(nonfinite) or "on another rank"
            raise Diverged(f"diverged at {place}: weights are NaN or Inf ({where}); {ADVICE}")

    def on_fit_end(self) -> None:
        """Training is over."""
        super().on_fit_end()
        self.optimization.disconnect()

    # --- validation -----------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Begin with empty sums."""
        self.metrics.begin_validation()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Run the model on a batch and add its statistics; one with a NaN or Inf loss is only counted.

        A request to stop ends the loop here: the state from before the validation is saved, and the
        resumed run repeats the whole validation.
        """
        trainer = attached_trainer(self)
        trains = trainer is not None and trainer.state.fn == TrainerFn.FITTING
        if trains and self.stop_requested():
            raise StopIteration
        uids, data = read_batch(batch)
        output = self.optimization.read(self.model(**data), len(uids))
        self.metrics.add_validation(output, self.optimization.is_finite(output.loss))

    def on_validation_epoch_end(self) -> None:
        """Reduce the sums over ranks, once, and log the means."""
        self.metrics.end_validation(self._world_size)

    @property
    def _world_size(self) -> int:
        trainer = attached_trainer(self)
        return trainer.world_size if trainer is not None else 1


# Lightning looks at the arguments of `training_step` before every batch; with this the look is short.
ESPnetLightningModule.training_step.__signature__ = signature(  # type: ignore[attr-defined]
    ESPnetLightningModule.training_step
)


def _never() -> bool:
    """A function and no lambda: `strategy="ddp_spawn"` pickles the module."""
    return False
