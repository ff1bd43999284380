"""When checkpoints are written: after every epoch, and when the run is asked to stop."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from espnet3.components.checkpoint.ranking import (
    LAST,
    Ranked,
    Ranking,
    read_ranking,
    write_ranking,
)
from espnet3.components.checkpoint.run_state import KEY, gather_run_state, restore_run_state
from espnet3.components.modeling.control import agree
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.monitored_metric import NeverLogged, monitored_value
from espnet3.rundir.atomic import replace_file
from espnet3.rundir.stop import Stopped

log = logging.getLogger(__name__)


class RunCheckpoint(Checkpoint):
    """Keeps `last.ckpt` and the best checkpoints in `directory`.

    After every epoch `last.ckpt` is replaced, and when the monitored metric, refreshed in that epoch, is
    among the best, a checkpoint such as `epoch=3-step=120.ckpt` (3 epochs and 120 updates done) is kept,
    and entered into `best.json`. Both are the same file, written once.

    When the ranks have agreed to stop, `last.ckpt` is written after the first batch from which training
    can be resumed exactly, and `Stopped` raised. No such batch is: the last of an epoch and one followed by
    validation (their hooks would be lost; the end of the epoch saves), and one inside an accumulation.

    A subclass of Lightning's Checkpoint, because those run last: after all metrics are there.

    Args:
        directory: made when it is not there.
        monitor: a logged metric, such as valid/loss.
        mode: `min` or `max`.
        save_top_k: how many best ones are kept.
    """

    def __init__(self, directory: Path, monitor: str, mode: str = "min", save_top_k: int = 3) -> None:
        super().__init__()
        if mode not in ("min", "max"):
            raise ValueError(f"checkpoint.mode must be min or max, given: {mode!r}")
        self.directory = directory
        self.monitor = monitor
        self.mode = mode
        self.save_top_k = save_top_k
        self._validated = False
        self._loaded: list[dict[str, Any]] | None = None

    # --- what is added to Lightning's checkpoint, on all ranks ------------------------------------------

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add every rank's own state."""
        checkpoint[KEY] = gather_run_state(trainer, _ours(module))

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the state until training starts: loaders and optimizers are still to be made."""
        self._loaded = checkpoint.get(KEY, [])

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Set the state; the last thing before the first batch."""
        if self._loaded is None:
            return
        module = _ours(module)
        epoch, batch = module.position
        if trainer.is_global_zero:
            log.info("continuing from %s: epoch %d, batch %d", trainer.ckpt_path, epoch + 1, batch + 1)
        restore_run_state(self._loaded, trainer, module)
        self._loaded = None

    # --- when to save -------------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """No metric is refreshed yet."""
        self._validated = False

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Metrics of the validation data are refreshed."""
        self._validated = not trainer.sanity_checking

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop, if the ranks have agreed to; save, if max_steps ends training inside the epoch."""
        module = _ours(module)
        loop = trainer.fit_loop.epoch_loop
        fetcher = trainer.fit_loop._data_fetcher
        assert fetcher is not None
        if loop._num_ready_batches_reached() or loop._should_check_val_fx(fetcher):
            return
        if module.stop_agreed and not module.window.held:
            self._save_last(trainer)
            epoch, batch = module.position
            raise Stopped(f"saved after batch {batch} of epoch {epoch + 1}")
        if loop._is_training_done:
            self._save_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save; then stop, if asked to on any rank since the last batch."""
        module = _ours(module)
        if not trainer.fit_loop.epoch_loop._num_ready_batches_reached():
            return  # max_steps ended the training inside the epoch, and that was saved
        candidate = self._candidate(trainer)
        if candidate is None:
            self._save_last(trainer)
        else:
            self._save_ranked(trainer, candidate)
        stop = {"stop": module.stop_agreed or module.stop_requested()}
        verdict = agree(stop, device=module.device, world_size=trainer.world_size)
        if verdict["stop"] and not _is_finished(trainer):
            raise Stopped(f"saved after epoch {trainer.current_epoch + 1}")

    # --- how ------------------------------------------------------------------------------------------------

    def _candidate(self, trainer: Trainer) -> Ranked | None:
        """This epoch's checkpoint, if the metric was refreshed in it."""
        try:
            value = monitored_value(trainer, "checkpoint.monitor", self.monitor, validated=self._validated)
        except NeverLogged as error:
            # not worth a training: it goes on, and last.ckpt is there
            log.warning("no best checkpoint is kept: %s", error)
            return None
        if value is None:
            return None
        epoch = trainer.current_epoch + 1
        return Ranked(f"epoch={epoch}-step={trainer.global_step}.ckpt", float(value), epoch)

    def _save_last(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.directory / LAST)

    def _save_ranked(self, trainer: Trainer, candidate: Ranked) -> None:
        """Save once, under the candidate's name if it is among the best, and as last.ckpt.

        The order makes a kill in between harmless: the epoch is then done again, under the same names.
        """
        before = read_ranking(self.directory)
        if before is None or (before.monitor, before.mode) != (self.monitor, self.mode):
            before = Ranking(self.monitor, self.mode)
        after = before.with_candidate(candidate, self.save_top_k)
        # Rank 0 decides for all: the others may see an older file on a shared file system.
        is_best = bool(trainer.strategy.broadcast(candidate.file in after.files()))
        if not is_best:
            self._save_last(trainer)
            return
        trainer.save_checkpoint(self.directory / candidate.file)
        if trainer.is_global_zero:
            write_ranking(self.directory, after)
            with replace_file(self.directory / LAST) as temporary:
                _link(self.directory / candidate.file, temporary)
            for file in before.files() - after.files():
                (self.directory / file).unlink(missing_ok=True)
        trainer.strategy.barrier("RunCheckpoint")


def _ours(module: LightningModule) -> ESPnetLightningModule:
    assert isinstance(module, ESPnetLightningModule), f"RunCheckpoint cannot save a {type(module).__name__}"
    return module


def _is_finished(trainer: Trainer) -> bool:
    """Whether this was the last epoch: a stop request then changes nothing."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    last_epoch = epochs is not None and epochs != -1 and trainer.current_epoch + 1 >= epochs
    last_step = steps != -1 and trainer.global_step >= steps
    return last_epoch or last_step or trainer.should_stop


def _link(source: Path, target: Path) -> None:
    """Make `target` the same file, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
