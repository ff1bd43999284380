"""Lightning's private names: what training needs of Lightning and its public interface does not offer.

Any release may rename them. So `pyproject.toml` bounds Lightning's version from above, the contract test
`test_lightning_internals.py` names what an upgrade took away, and no other file uses a private name.
"""

from collections.abc import Callable, Mapping
from typing import Any

import lightning
import lightning.fabric.utilities.rank_zero
import lightning.pytorch.utilities.rank_zero
import torch
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.overrides.distributed import _sync_module_states
from lightning.pytorch.trainer.call import _call_callback_hooks, _call_lightning_module_hook
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.nn import Module

_STEP = "training_step"
_EPOCH_LOOP = "epoch_loop."

# --- where training is ------------------------------------------------------------------------------------


def attached_trainer(module: LightningModule) -> Trainer | None:
    """The Trainer that runs `module`, if any: `module.trainer` raises without one."""
    return module._trainer


def is_last_batch(trainer: Trainer) -> bool:
    """Whether the epoch has no batch after the one that was begun last: its end is then still to come."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def validation_follows(trainer: Trainer) -> bool:
    """Whether a validation follows the batch that was run: a checkpoint must say that it is still to come."""
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None, "training has not begun"
    return trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


def is_training_done(trainer: Trainer) -> bool:
    """Whether the epoch or `max_steps` ends with this batch: no later batch would write the checkpoint."""
    return trainer.fit_loop.epoch_loop._is_training_done


def accumulates(trainer: Trainer) -> bool:
    """Whether the gradients of this batch wait for those of later ones: nothing is reduced or stepped yet."""
    return trainer.fit_loop._should_accumulate()


def batch_number(trainer: Trainer) -> int:
    """How many batches were begun, those of earlier epochs included; checkpoints are due by it."""
    return trainer.fit_loop.epoch_loop.total_batch_idx + 1


# --- what the loops do next ---------------------------------------------------------------------------------


def begin_with_whole_epoch(trainer: Trainer) -> None:
    """Let the fit loop start an epoch, instead of finishing the one before.

    With `max_steps` Lightning believes that every checkpoint was written inside an epoch: it would run the
    end of the finished epoch again and count it twice, so that the next one had the order of its successor.
    Called when the training data is set up: after the loops were restored, before they look at it.
    """
    setter = vars(_Loop)["restarting"].fset  # the fit loop's own setter is the one that insists
    setter(trainer.fit_loop, False)


def set_max_steps(trainer: Trainer, steps: int) -> None:
    """Move the end of training: a validation that follows the last step is left out where it is reached."""
    _replace(trainer.fit_loop.epoch_loop, "max_steps", steps)


def count_step(trainer: Trainer) -> None:
    """Count a batch of manual optimization as one step: Lightning counts each optimizer's steps instead."""
    progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    progress.increment_ready()
    progress.increment_completed()


def forget_cut_validation(trainer: Trainer) -> int:
    """Take back a batch that a stopped validation has left in the counts; how many were completed before."""
    total = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
    total.reset_on_restart()
    return total.completed


def given_training_data(trainer: Trainer) -> Any | None:
    """The loader of `fit(train_dataloaders=…)` or of a datamodule; None where the module's own is used."""
    source = trainer.fit_loop._data_source
    return None if source.instance is trainer.lightning_module else source.dataloader()


def ask_for_training_data_again(trainer: Trainer) -> None:
    """Make the fit loop call `train_dataloader` in the next epoch; the public option does so in every one."""
    _replace(trainer.fit_loop, "_combined_loader", None)


def state_before_validation(loops: dict[str, Any], batches_before: int | None) -> None:
    """Change the loops' state from "after a batch" to "before the validation that follows this batch".

    Lightning believes of a checkpoint from `on_train_batch_end` that the validation was done, and, at the
    last batch of an epoch, that its end was. It runs a whole validation, then what comes after it, when the
    batch is completed and a validation has begun without completing a batch. Nothing is read twice:
    validation begins with its first batch.

    Args:
        loops: `checkpoint["loops"]["fit_loop"]`, changed in place; from before or from within the validation.
        batches_before: how many batches of validation the epoch had before it; None when it has not begun.
    """
    batches = loops[f"{_EPOCH_LOOP}batch_progress"]
    for counts in (batches["total"], batches["current"]):
        counts["completed"] = counts["processed"]
    validation = loops[f"{_EPOCH_LOOP}val_loop.batch_progress"]
    done = validation["total"]["completed"] if batches_before is None else batches_before
    validation["total"] = {"ready": done + 1, "started": done + 1, "processed": done, "completed": done}
    validation["current"] = dict.fromkeys(("ready", "started", "processed", "completed"), 0)
    validation["is_last_batch"] = False


# --- hooks ------------------------------------------------------------------------------------------------


def overridden_hook(trainer: Trainer, name: str) -> Callable[..., None] | None:
    """Calls the hook `name` of all callbacks and of the module; None where nobody overrides it."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    if not any(is_overridden(name, owner) for owner in (trainer.lightning_module, *callbacks)):
        return None

    def call(*args: Any) -> None:
        _call_callback_hooks(trainer, name, *args)
        _call_lightning_module_hook(trainer, name, *args)

    return call


# --- metrics and loggers ------------------------------------------------------------------------------------


def batches_that_stepped(trainer: Trainer) -> int:
    """The step that the loggers' next row gets; `global_step` counts optimizers instead."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def batch_has_row(trainer: Trainer) -> bool:
    """Whether the loggers will get a row of the batch that was run: a checkpoint comes before it."""
    automatic = trainer.lightning_module.automatic_optimization
    return not (accumulates(trainer) and automatic) and trainer._logger_connector.should_update_logs


def row_to_come(trainer: Trainer) -> dict[str, Any]:
    """The metrics of the loggers' next row; `logged_metrics` has those of earlier rows among them."""
    metrics: dict[str, Any] = convert_tensors_to_scalars(trainer._logger_connector.metrics["log"])
    return metrics


def restore_callback_metrics(trainer: Trainer, metrics: Mapping[str, Any]) -> None:
    """Make `metrics` the last ones that callbacks see: `callback_metrics` cannot be set."""
    trainer._logger_connector._callback_metrics.update(metrics)


def forget_callback_metrics(trainer: Trainer, prefixes: tuple[str, ...]) -> None:
    """Remove metrics from those that callbacks see: Lightning keeps the last value of each for ever."""
    metrics = trainer._logger_connector._callback_metrics
    for key in [key for key in metrics if key.startswith(prefixes)]:
        del metrics[key]


def replace_logged(trainer: Trainer, key: str, value: Tensor) -> bool:
    """Give what `training_step` logged as `key` the value of this batch; False: it has logged no such key.

    Without the checks and copies of `self.log`, which take as long as a small network's backward pass.
    """
    metric = trainer.fit_loop.epoch_loop._results.get(f"{_STEP}.{key}")
    if metric is None:
        return False
    is_exact = value.dtype in (torch.float32, torch.float64)
    _replace(metric, "_forward_cache", value.clone() if is_exact else value.float())
    _replace(metric, "has_reset", False)
    return True


def show_to_callbacks(trainer: Trainer, metrics: Mapping[str, Tensor]) -> None:
    """Let callbacks see metrics of the batch that runs, in place of what `training_step` logged before.

    They are in no row and no progress bar. What Lightning does with logged metrics after each batch costs
    several times as much.
    """
    results, connector = trainer.fit_loop.epoch_loop._results, trainer._logger_connector
    for key in metrics:
        metric = results.get(f"{_STEP}.{key}")
        if metric is not None and not metric.has_reset:
            _replace(metric, "has_reset", True)
    connector._callback_metrics.update(metrics)
    connector._logged_metrics.update(metrics)


def forget_logged(trainer: Trainer) -> None:
    """Take back what `training_step` has logged: a row would repeat it after a batch that logs nothing."""
    trainer.fit_loop.epoch_loop._results.reset(fx=_STEP)


def purge_from(logger: TensorBoardLogger, step: int) -> None:
    """Let TensorBoard leave out earlier rows from `step` on: known only after the logger was made."""
    logger._kwargs["purge_step"] = step


# --- processes ----------------------------------------------------------------------------------------------


def leave_signals_alone(trainer: Trainer) -> None:
    """Keep Lightning from handling signals: the launcher owns those of a task.

    Lightning would add a handler for SIGTERM, requeue Slurm jobs by itself, and broadcast, with a read from
    the device, before every batch. The module's control collective carries a request to stop.

    Raises:
        RuntimeError: this version of Lightning does it elsewhere.
    """
    _replace(_get(trainer, "_signal_connector"), "register_signal_handlers", lambda: None)
    _replace(trainer.fit_loop.epoch_loop, "_broadcast_sigterm_tensor", lambda: None)


def leave_samplers_alone(trainer: Trainer) -> None:
    """Keep Lightning from putting its sampler into loaders; the Trainer of a user may be made with it."""
    _replace(_get(trainer, "_accelerator_connector"), "use_distributed_sampler", False)


def set_rank(rank: int) -> None:
    """Say which rank this is: Lightning guesses it from Slurm's variables when it is imported."""
    for module in (lightning.fabric.utilities.rank_zero, lightning.pytorch.utilities.rank_zero):
        _replace(module.rank_zero_only, "rank", rank)


def broadcast_weights(module: Module) -> None:
    """Give all ranks rank 0's parameters and buffers, without DDP's reducer."""
    _sync_module_states(module)


# --- names that an upgrade took away ------------------------------------------------------------------------


def _get(owner: object, name: str) -> Any:
    """`owner.name`.

    Raises:
        RuntimeError: naming Lightning's version.
    """
    try:
        return getattr(owner, name)
    except AttributeError:
        where = getattr(owner, "__name__", type(owner).__name__)
        raise RuntimeError(
            f"lightning {lightning.__version__} has no {where}.{name}, which espnet3 needs: install a version"
            " that its pyproject.toml allows"
        ) from None


def _replace(owner: object, name: str, value: object) -> None:
    """Set `owner.name`, which must be there: to set a name that Lightning has renamed would do nothing.

    Raises:
        RuntimeError: it is not there.
    """
    _get(owner, name)
    setattr(owner, name, value)
