"""When checkpoints are written: every so many batches or minutes, after every epoch, and on request."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from espnet3.components.checkpoint import folder
from espnet3.components.checkpoint.background.background_io import checkpoint_io_of
from espnet3.components.checkpoint.background.completion import Completion
from espnet3.components.checkpoint.best_checkpoints import BestCheckpoints
from espnet3.components.checkpoint.held_gradients import (
    held_gradients,
    load_held,
    save_held,
    set_held_gradients,
)
from espnet3.components.checkpoint.log_rows import KEY as LOGS
from espnet3.components.checkpoint.log_rows import continue_rows, log_files, log_state
from espnet3.components.checkpoint.ranking import Ranked
from espnet3.components.checkpoint.run_state import (
    KEY,
    gather_run_state,
    random_state,
    restore_metrics,
    restore_run_state,
)
from espnet3.components.modeling.control import agree
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.trainers.lightning_internals import (
    batch_number,
    forget_cut_validation,
    is_last_batch,
    is_training_done,
    set_max_steps,
    state_before_validation,
    validation_follows,
)
from espnet3.errors import short_path
from espnet3.rundir.heartbeat import Heartbeat
from espnet3.rundir.stop import Stopped
from espnet3.rundir.time_spent import CHECKPOINT

log = logging.getLogger(__name__)

CANDIDATE = "espnet3_candidate"
VALIDATION = "espnet3_validation_follows"


@dataclass(frozen=True)
class _Moment:
    """Where in Lightning's loops a checkpoint is written: what is still to be done after it."""

    batch_row: bool = False
    """The loggers' row of the batch."""
    epoch_row: bool = False
    """That of the epoch."""
    validation: bool = False
    """The validation that follows the batch; one that has begun starts again from its first batch."""


class RunCheckpoint(Checkpoint):
    """Keeps the newest and the best checkpoints in `directory`; training can continue from each of them.

    The name of a checkpoint says how far training was, such as `epoch=3-step=120.ckpt` or
    `epoch=3-batch=7-step=127.ckpt` (see `folder`); `last.ckpt` is the newest one under another name. It is
    written after a batch when it is due, or when the ranks have agreed to stop (then `Stopped` is raised),
    and after every epoch; one that is due at the last batch of an epoch is that of the epoch.

    When the monitored metric, refreshed by a validation or an epoch, is among the best, the checkpoint is
    kept, and entered into `best.json`.

    A run that continues from any of them equals the uninterrupted run, bit for bit, on the CPU with the same
    numbers of ranks and threads. On CUDA it does so as far as two uninterrupted runs are equal: generator
    states are kept, but kernels with atomic additions sum in any order, unless `trainer.deterministic`
    excludes them.

    A subclass of Lightning's Checkpoint, because those run last: after all metrics are there.

    Args:
        directory: created if it does not exist.
        monitor: a logged metric, such as valid/loss.
        mode: `min` or `max`.
        save_top_k: how many best ones are kept.
        keep_last: how many of the newest are kept, best or not.
        every_n_batches: batches from one checkpoint to the next, over all epochs; None: by time only.
        every_minutes: minutes from one checkpoint to the next, by rank 0's clock; None: by batches only.
        heartbeat: counts for how long training stands still, and what is saved; None: nobody does.
    """

    def __init__(
        self,
        directory: Path,
        monitor: str,
        mode: str = "min",
        save_top_k: int = 3,
        keep_last: int = 2,
        every_n_batches: int | None = None,
        every_minutes: float | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        super().__init__()
        self.directory = directory
        self.best = BestCheckpoints(directory, monitor, mode, save_top_k)
        self.keep_last = keep_last
        self.every_n_batches = every_n_batches
        self.every_minutes = every_minutes
        self._heartbeat = heartbeat or Heartbeat()
        self._held: dict[str, float] | None = None  # what is spent by the checkpoint that is being written
        self._is_due = False
        self._saved_at = time.monotonic()
        self._moment = _Moment()
        self._candidate: Ranked | None = None
        self._writing: Path | None = None
        self._random_before_validation: dict[str, Any] | None = None
        self._batches_before_validation: int | None = None
        self._loaded: dict[str, Any] | None = None
        self._max_steps: int | None = None

    # --- what is added to Lightning's checkpoint, on all ranks ------------------------------------------

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add every rank's own state, and what is still to be done."""
        assert self._writing is not None, "only RunCheckpoint writes checkpoints of a run"
        module, moment = _ours(module), self._moment
        checkpoint[KEY] = gather_run_state(trainer, module, random_before=self._random_before_validation)
        checkpoint[LOGS] = log_state(trainer, batch_to_come=moment.batch_row, epoch_to_come=moment.epoch_row)
        checkpoint[CANDIDATE] = None if self._candidate is None else vars(self._candidate)
        checkpoint[VALIDATION] = moment.validation
        if moment.validation:
            state_before_validation(checkpoint["loops"]["fit_loop"], self._batches_before_validation)
        save_held(
            checkpoint,
            self._writing,
            held_gradients(module),
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the state until training starts: loaders and optimizers do not exist yet."""
        self._loaded = {key: checkpoint.get(key) for key in (KEY, LOGS, CANDIDATE, VALIDATION, "global_step")}
        self._loaded["held"] = load_held(
            checkpoint, self.directory, rank=trainer.global_rank, world_size=trainer.world_size
        )

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Let logs and metrics continue, also those of a training that is finished."""
        module = _ours(module)
        module.save_requested = self._minutes_have_passed if trainer.is_global_zero else _never
        continue_rows(trainer, self._loaded[LOGS] if self._loaded else None)
        if self._loaded:
            restore_metrics(self._loaded[KEY], trainer)
            steps = self._loaded["global_step"]
            if self._loaded[VALIDATION] and 0 <= trainer.max_steps <= steps:
                # Lightning would call it finished, and leave out the validation that is still to come.
                self._max_steps = trainer.max_steps
                set_max_steps(trainer, steps + 1)
        if trainer.is_global_zero:
            saved = self._loaded[CANDIDATE] if self._loaded else None
            self.best.restore(trainer, module, None if saved is None else Ranked(**saved))

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Restore the state, right before the first batch."""
        self._saved_at = time.monotonic()
        if self._loaded is None:
            return
        module, states = _ours(module), self._loaded[KEY]
        epoch, batch = module.position
        if trainer.is_global_zero:
            where = f"epoch {epoch + 1}, batch {batch + 1}"
            log.info("continuing from %s: %s", short_path(str(trainer.ckpt_path)), where)
            if len(states) != trainer.world_size:
                log.warning(
                    "trained on %d ranks before, on %d from now on: the order of the data changes, and the"
                    " result equals that of neither number of ranks",
                    len(states),
                    trainer.world_size,
                )
        set_held_gradients(module, self._loaded["held"])
        restore_run_state(states, trainer, module)
        self._loaded = None

    # --- when to save -------------------------------------------------------------------------------------

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, if it is due, or if the ranks have agreed to stop, or if max_steps ends training here."""
        module = _ours(module)
        every = self.every_n_batches
        self._is_due |= module.save_agreed or (every is not None and batch_number(trainer) % every == 0)
        validates = validation_follows(trainer)
        if is_last_batch(trainer) and not validates:
            return  # the end of the epoch comes next
        is_end = is_training_done(trainer) and not validates
        if module.stop_agreed or self._is_due or is_end:
            self._save(trainer, module, _Moment(batch_row=True, validation=validates))
        if module.stop_agreed:
            self._wait(trainer)
            raise _stopped_at(module)
        checkpoint_io_of(trainer).check()
        self._note_complete(trainer)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Keep the state that a validation changes: it may have to be run again as a whole."""
        if trainer.sanity_checking:
            return
        self._random_before_validation = random_state()
        if self._max_steps is not None:
            set_max_steps(trainer, self._max_steps)
            self._max_steps = None
        self._batches_before_validation = forget_cut_validation(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Stop, if any rank was asked to since the last batch; saves the state from before the validation."""
        module = _ours(module)
        if not trainer.sanity_checking:
            agreed = agree(
                {"stop": module.stop_requested()}, device=module.device, world_size=trainer.world_size
            )
            if agreed["stop"]:
                self._save(trainer, module, _Moment(validation=True))
                self._wait(trainer)
                raise _stopped_at(module)
        self._random_before_validation = self._batches_before_validation = None

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save if a validation inside an epoch is among the best; that at its end is saved with the epoch."""
        if trainer.sanity_checking:
            return
        module = _ours(module)
        if is_last_batch(trainer):
            return
        candidate = self.best.weigh(trainer, module) if self.best.is_validated else None
        if candidate is not None or is_training_done(trainer):
            self._save(trainer, module, _Moment(), candidate)
        if self.best.is_validated:
            self.best.refuse_mistyped_monitor(trainer, module)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save; then stop, if asked to on any rank since the last batch."""
        module = _ours(module)
        if not is_last_batch(trainer):
            return  # max_steps ended the training inside the epoch, and that was saved
        self._save(trainer, module, _Moment(epoch_row=True), self.best.weigh(trainer, module))
        self.best.refuse_mistyped_monitor(trainer, module)
        stop = {"stop": module.stop_agreed or module.stop_requested()}
        agreed = agree(stop, device=module.device, world_size=trainer.world_size)
        if agreed["stop"] and not _is_finished(trainer):
            self._wait(trainer)
            raise Stopped(f"saved after epoch {trainer.current_epoch + 1}")

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Wait for the last checkpoint: the training is done when it is complete."""
        self._wait(trainer)

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Wait for the last checkpoint, which the next attempt continues from."""
        checkpoint_io_of(trainer).finish()

    def _minutes_have_passed(self) -> bool:
        return self.every_minutes is not None and time.monotonic() - self._saved_at >= 60 * self.every_minutes

    # --- writing --------------------------------------------------------------------------------------------

    def _save(
        self,
        trainer: Trainer,
        module: ESPnetLightningModule,
        moment: _Moment,
        candidate: Ranked | None = None,
    ) -> None:
        """Copy the state, and have it written while training goes on; a kill leaves the newest one usable.

        Raises:
            Diverged: the weights are not finite; nothing is written.
            UserError: there is no room for it, or the checkpoint before could not be written.
        """
        before = self._heartbeat.spent.switch(CHECKPOINT)
        if not moment.epoch_row:  # at the end of an epoch the module has checked them
            module.check_weights()
        position = folder.Position(*module.position)
        path = self.directory / folder.checkpoint_name(position, trainer.global_step)
        self._moment, self._candidate, self._writing = moment, candidate, path
        trainer.save_checkpoint(path, storage_options=self._completion(trainer, candidate))
        self._writing = None
        self._is_due = False
        self._saved_at = time.monotonic()
        self._heartbeat.spent.switch(before)
        self._held = self._heartbeat.spent.sums()
        self._note_complete(trainer)

    def _note_complete(self, trainer: Trainer) -> None:
        """Tell the heartbeat what the last checkpoint holds, once it is written."""
        if self._held is not None and checkpoint_io_of(trainer).is_complete:
            self._heartbeat.saved(self._held)
            self._held = None

    def _completion(self, trainer: Trainer, candidate: Ranked | None) -> Completion | None:
        """What follows the write; None on the ranks that write nothing."""
        if not trainer.is_global_zero:
            return None
        ranking = self.best.ranking(trainer, candidate)
        return Completion(ranking, candidate is not None, self.keep_last, log_files(trainer))

    def _wait(self, trainer: Trainer) -> None:
        """Wait until the last checkpoint is complete, on all ranks.

        Raises:
            UserError: it could not be written.
        """
        checkpoint_io_of(trainer).wait()
        trainer.strategy.barrier("RunCheckpoint")
        self._note_complete(trainer)


def _never() -> bool:
    return False


def _ours(module: LightningModule) -> ESPnetLightningModule:
    assert isinstance(module, ESPnetLightningModule), f"RunCheckpoint cannot save a {type(module).__name__}"
    return module


def _stopped_at(module: ESPnetLightningModule) -> Stopped:
    epoch, batch = module.position
    return Stopped(f"saved after batch {batch} of epoch {epoch + 1}")


def _is_finished(trainer: Trainer) -> bool:
    """Whether this was the last epoch: a stop request then changes nothing."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    last_epoch = epochs is not None and epochs != -1 and trainer.current_epoch + 1 >= epochs
    last_step = steps != -1 and trainer.global_step >= steps
    return last_epoch or last_step or trainer.should_stop
