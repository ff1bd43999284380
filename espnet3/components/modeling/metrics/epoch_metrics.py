"""Logs the statistics of a module's batches, and their means and ratios over epochs and validations."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from espnet3.components.modeling.metrics.batch_log import log_batch, row_follows, shows_bar
from espnet3.components.modeling.metrics.host_values import on_host
from espnet3.components.modeling.metrics.metric_sums import MetricSums, means_of
from espnet3.components.modeling.metrics.monitored_metric import monitored_value
from espnet3.components.modeling.metrics.ratio import Ratio, batch_values
from espnet3.components.modeling.model_output import ModelOutput
from espnet3.components.trainers.lightning_internals import attached_trainer, forget_callback_metrics

log = logging.getLogger(__name__)

SKIPPED = "skipped_batches"
"""Validation batches whose loss was NaN or Inf are counted as `valid/skipped_batches`."""


ToRead = Callable[[Mapping[str, Tensor | Ratio]], dict[str, Tensor]]
"""From the statistics of a batch to those scalars that are wanted on the host."""


def nothing_to_read(_: Mapping[str, Tensor | Ratio]) -> dict[str, Tensor]:
    """A `ToRead` that wants nothing."""
    return {}


class EpochMetrics:
    """Logs each training batch as `train/<key>`, and the means and ratios over an epoch and a validation.

    Statistics stay tensors on their device until a row or a progress bar shows them: then the batch's one
    read brings them. Sums are reduced over ranks once, at the end.

    Args:
        module: whose `log` is used, and whose hooks call these methods.
    """

    def __init__(self, module: LightningModule) -> None:
        self._module = module
        self.validated = False
        """Whether a validation was done in this epoch."""
        self._train = MetricSums()
        self._valid = MetricSums()
        self._epoch_of_mean: dict[str, int] = {}
        self._shown: dict[str, Tensor] = {}

    # --- training -----------------------------------------------------------------------------------------

    def begin_epoch(self) -> None:
        """Forget what was validated and shown before: a metric is only shown with the epoch that made it."""
        self.validated = False
        self._shown = {}
        trainer = attached_trainer(self._module)
        if trainer is not None:
            forget_callback_metrics(trainer, ("train/", "valid/"))

    def to_read(self, stats: Mapping[str, Tensor | Ratio]) -> dict[str, Tensor]:
        """What is shown of a batch with these statistics and is on a device yet."""
        if row_follows(self._module):
            shown = {**self._shown, **batch_values(stats)}
        elif shows_bar(self._module):
            shown = batch_values(stats)
        else:
            return {}
        return {key: value for key, value in shown.items() if value.device.type != "cpu"}

    def add_batch(
        self,
        output: ModelOutput[Any],
        optimizer_stats: Mapping[str, Tensor],
        read: Mapping[str, Tensor],
    ) -> None:
        """Count and log an accepted batch.

        Args:
            output: with its statistics and their weight.
            optimizer_stats: further values to log, of which no means are taken.
            read: what `to_read` returned, on the host.
        """
        self._train.add(output.stats, output.weight)
        # A row repeats values that this batch does not update, such as the norm of the last update.
        self._shown = {**self._shown, **batch_values(output.stats), **read, **optimizer_stats}
        has_row = row_follows(self._module)
        if has_row:
            self._shown = on_host(self._shown)  # the norms of this batch's gradients
        log_batch(self._module, self._shown, output.weight, has_row=has_row)

    def skip_batch(self) -> None:
        """The batch was skipped: it is in no row and no mean."""
        self._shown = {}

    def end_epoch(self, world_size: int, *, is_whole: bool, nonfinite: Mapping[str, int]) -> None:
        """Log the means over the epoch; a collective.

        Args:
            world_size: number of ranks.
            is_whole: false when max_steps has ended the epoch early; it may be continued, and has no row.
            nonfinite: updates skipped for their gradients in the epoch, by key.
        """
        for key, count in nonfinite.items() if is_whole else ():
            self._log_mean(f"train/{key}", torch.tensor(float(count)))
        for key, mean in self._train.means(self._module.device, world_size).items():
            # Monitors and the screen get the mean under the key itself, where loggers have the batches.
            self._log_mean(f"train/{key}", mean, logger=False, prog_bar=True)
            if is_whole:
                self._log_mean(f"train/{key}_epoch", mean)
        self._train.reset()

    # --- validation ---------------------------------------------------------------------------------------

    def begin_validation(self) -> None:
        """Begin with empty sums."""
        self._valid.reset()

    def add_validation(self, output: ModelOutput[Any], is_finite: Tensor) -> None:
        """Add a batch of a validation; one whose loss is not finite (bool of shape ()) is only counted."""
        self._valid.add(output.stats, output.weight, accepted=is_finite)
        self._valid.add({SKIPPED: (~is_finite).float()}, 1.0)

    def end_validation(self, world_size: int) -> None:
        """Log the means over the validation; a collective."""
        totals = self._valid.totals(self._module.device, world_size)
        self._valid.reset()
        self.validated = True
        skipped, batches = totals.pop(SKIPPED, torch.zeros(2)).tolist()
        means = means_of(totals)
        if batches and skipped == batches:  # no result, which is not the result of the validation before
            means = dict.fromkeys(totals, torch.tensor(torch.nan))
        for key, mean in means.items():
            self._log_mean(f"valid/{key}", mean, prog_bar=True)
        if skipped:
            self._log_mean(f"valid/{SKIPPED}", torch.tensor(skipped))
        if skipped and skipped == batches:
            log.warning(
                "epoch %d: no validation batch (of %d) has a finite loss: the validation has no result",
                self._module.current_epoch + 1,
                batches,
            )
        elif skipped:
            log.warning(
                "epoch %d: %d of %d validation batches have a loss of NaN or Inf; the metrics leave them out",
                self._module.current_epoch + 1,
                skipped,
                batches,
            )

    # --- monitors -----------------------------------------------------------------------------------------

    def new_value(self, key: str, monitor: str) -> Tensor | None:
        """The value that this epoch gave the metric `monitor`, which the configuration's `key` names.

        Raises:
            NeverLogged: it should have been logged, and was not.
        """
        # It may be of an earlier epoch, where no batch of this one returned that loss.
        epoch = self._module.current_epoch
        if self._epoch_of_mean.get(monitor, epoch) != epoch:
            return None
        return monitored_value(self._module.trainer, key, monitor, validated=self.validated)

    def was_logged(self, name: str) -> bool:
        """Whether a metric was logged in any epoch, be it an earlier one."""
        return name in self._epoch_of_mean

    # --- checkpoints --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """This rank's sums and values of the epoch so far, as plain data."""
        return {
            "train_sums": self._train.state_dict(),
            "validated": self.validated,
            "mean_of_epoch": dict(self._epoch_of_mean),
            "shown": on_host(self._shown),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self._train.load_state_dict(state["train_sums"])
        self.validated = state["validated"]
        self._epoch_of_mean = dict(state["mean_of_epoch"])
        self._shown = dict(state["shown"])

    def _log_mean(self, key: str, mean: Tensor, **options: Any) -> None:
        """Log a value that is equal on all ranks already; sync_dist tells Lightning so."""
        dtype = torch.float32 if self._module.device.type == "mps" else torch.float64
        self._epoch_of_mean[key] = self._module.current_epoch
        self._module.log(
            key,
            mean.to(self._module.device, dtype),
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=1,
            **options,
        )
