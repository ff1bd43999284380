"""Reports the progress of training: the heartbeat for the screen, and lines in the log."""

import logging
import math
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from espnet3.components.callbacks.epoch_line import epoch_line
from espnet3.components.gpu import uses_gpu
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.metrics.host_values import on_host
from espnet3.rundir.task import Task
from espnet3.rundir.time_spent import DATA, STARTUP, TRAINING, VALIDATION
from espnet3.rundir.watch.activity import Phase

log = logging.getLogger(__name__)


class Progress(Checkpoint):
    """Updates the task's heartbeat, and logs a line at the end of every epoch and in long epochs.

    Also counts what the time is spent on: a reading of the clock at the start and at the end of each batch.

    Metrics are read from the device only when the heartbeat is about to be written or a line is due.
    A subclass of Lightning's Checkpoint only because those run last: after the epoch's means are logged.

    Args:
        task: whose heartbeat is updated; lines come from its rank 0.
        monitor: the metric that the best checkpoint is chosen by; a line begins with it.
        log_every_s: seconds between two lines within an epoch.
    """

    def __init__(self, task: Task, monitor: str = "", log_every_s: float = 30.0) -> None:
        super().__init__()
        self._task = task
        self._monitor = monitor
        self._log_every_s = log_every_s
        self._line_at = 0.0
        self._epoch_at = 0.0
        self._utterances = 0
        self._began_at = 0.0
        self._batches = 0
        self._spent = task.heartbeat.spent
        self._before_validation = STARTUP

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Report at once that training has begun; a resumed epoch starts its clock here."""
        self._start_clock()
        self._began_at, self._batches = time.monotonic(), 0
        done = module.position[1] if isinstance(module, ESPnetLightningModule) else 0
        self._task.activity.enter("start", trainer.current_epoch + 1, done + 1)
        self._beat(trainer, done, force=True)

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the clock of the epoch."""
        if self._batches:
            self._task.activity.enter("epoch start", trainer.current_epoch + 1, 1)
        self._start_clock()
        if self._spent.kind != STARTUP:
            self._spent.switch(DATA)

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The batch is there."""
        self._spent.switch(TRAINING)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; report if it is due."""
        self._spent.switch(DATA)
        self._utterances += len(batch[0])
        self._batches += 1
        phase: Phase = "training" if batch_idx + 1 < trainer.num_training_batches else "epoch end"
        self._task.activity.enter(phase, trainer.current_epoch + 1, batch_idx + 2)
        if self._task.heartbeat.due():
            self._beat(trainer, batch_idx + 1, metrics=_floats(trainer, ("train/",)))
        now = time.monotonic()
        if self._task.rank == 0 and now - self._line_at >= self._log_every_s:
            self._line_at = now
            self._line(
                trainer, module, f", batch {batch_idx + 1}/{trainer.num_training_batches}", ("train/",)
            )

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """The time is the validation's; that of the check before training is part of the start."""
        self._task.activity.enter("validation start", trainer.current_epoch + 1, 1)
        if not trainer.sanity_checking:
            self._before_validation = self._spent.switch(VALIDATION)

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Say to the watcher that the last batch of it has ended."""
        batches = int(sum(trainer.num_val_batches))
        self._task.activity.enter("validation end", trainer.current_epoch + 1, batches + 1)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Go on with what was before: training, or the end of its epoch."""
        if not trainer.sanity_checking:
            self._spent.switch(self._before_validation)
        ends = trainer.fit_loop.batch_idx + 1 >= trainer.num_training_batches
        phase: Phase = "epoch end" if ends else "epoch start"
        self._task.activity.enter(phase, trainer.current_epoch + 1, trainer.fit_loop.batch_idx + 2)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Say so to the watcher."""
        self._task.activity.enter("end", trainer.current_epoch + 1, 0)

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Report the progress of validation."""
        self._task.activity.enter("validation", trainer.current_epoch + 1, batch_idx + 2)
        if self._task.heartbeat.due():
            total = sum(trainer.num_val_batches)
            self._task.heartbeat.update(unit="validation batch", done=batch_idx + 1, total=total)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Report the metrics of the epoch."""
        self._spent.switch(TRAINING)
        metrics = _floats(trainer, ("train/", "valid/"))
        self._beat(trainer, trainer.fit_loop.batch_idx + 1, force=True, metrics=metrics)
        if self._task.rank == 0:
            self._line(trainer, module, "", ("train/", "valid/"))

    def _start_clock(self) -> None:
        self._epoch_at = self._line_at = time.monotonic()
        self._utterances = 0

    def _beat(self, trainer: Trainer, done: int, **fields: Any) -> None:
        if "metrics" in fields:
            fields["metrics"] = monitored_first(fields["metrics"], self._monitor)
        if self._batches:
            seconds = time.monotonic() - self._began_at  # with validations and checkpoints
            left = batches_left(trainer, done)
            fields["eta_s"] = None if left is None else round(left * seconds / self._batches, 3)
            if (speed := self._speed()) is not None:
                fields["utterances_per_s"] = round(speed, 1)
        fields |= memory()
        self._task.heartbeat.update(
            unit="batch",
            done=done,
            total=trainer.num_training_batches,
            epoch=trainer.current_epoch + 1,
            max_epochs=trainer.max_epochs,
            **fields,
        )

    def _line(self, trainer: Trainer, module: LightningModule, where: str, prefixes: tuple[str, ...]) -> None:
        names = getattr(module, "optimizer_names", None) or [""]
        rates = {
            name: one.param_groups[0]["lr"] for name, one in zip(names, trainer.optimizers, strict=False)
        }
        total = f"/{trainer.max_epochs}" if trainer.max_epochs not in (None, -1) else ""
        where = f"epoch {trainer.current_epoch + 1}{total}{where}"
        line = epoch_line(where, _floats(trainer, prefixes), rates, self._speed(), self._monitor)
        log.info("%s", line)

    def _speed(self) -> float | None:
        """Utterances per second of all ranks, in this epoch so far; None before its first batch here."""
        if not self._utterances:
            return None  # resumed at the end of an epoch
        return self._utterances * self._task.world_size / max(time.monotonic() - self._epoch_at, 1e-9)


def monitored_first(metrics: Mapping[str, float], monitor: str) -> dict[str, float]:
    """The metrics, the monitored one or that of the other split first: `espnet3 status` shows the first."""
    same = monitor.partition("/")[2]
    first = (monitor, f"valid/{same}", f"train/{same}", "valid/loss", "train/loss")
    return {name: metrics[name] for name in dict.fromkeys([*first, *metrics]) if name in metrics}


def batches_left(trainer: Trainer, done: int) -> int | None:
    """Batches of this rank until training ends, after `done` of this epoch; None when it has no limit.

    `max_steps` counts updates, which accumulate batches.
    """
    ends: list[float] = []
    if trainer.max_epochs not in (None, -1):
        assert trainer.max_epochs is not None
        ends.append((trainer.max_epochs - trainer.current_epoch) * trainer.num_training_batches - done)
    if trainer.max_steps != -1:
        ends.append((trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches)
    left = min(ends, default=math.inf)
    return None if math.isinf(left) else max(0, int(left))


def memory() -> dict[str, int]:
    """Bytes in use by this process, `memory`, and the peak on its GPU, `gpu_memory`."""
    used = {"memory": _resident_bytes()}
    if uses_gpu():
        used["gpu_memory"] = torch.cuda.max_memory_allocated()
    return used


def _resident_bytes() -> int:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * resource.getpagesize()
    except OSError:  # not Linux: the peak, in bytes there
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _floats(trainer: Trainer, prefixes: tuple[str, ...]) -> dict[str, float]:
    """The newest metrics whose names begin with one of `prefixes`, by one read from the device."""
    tensors = {
        key: value
        for key, value in trainer.callback_metrics.items()
        if key.startswith(prefixes) and not key.endswith("_epoch") and isinstance(value, Tensor)
    }
    return {key: value.item() for key, value in on_host(tensors).items()}
