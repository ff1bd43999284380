"""Lightning's automatic optimization, in which a batch or an update can be skipped without any effect.

Lightning itself skips a batch when `training_step` returns None, but refuses that on several ranks, and
drops the gradients of the batches accumulated before. Here a skipped batch has a forward pass only: no
backward pass, no zeroing of gradients, no update and no step of the scheduler. Gradients of NaN or Inf are
dropped in place of an update.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import Optimizer

from espnet3.components.modeling.control import agree
from espnet3.components.modeling.divergence.finite import all_finite, briefly, nonfinite_names
from espnet3.components.modeling.divergence.skips import Place, Skips, UpdateResult
from espnet3.components.modeling.kept_buffers import KeptBuffers
from espnet3.components.modeling.named.reduction import (
    GradientReduction,
    default_bucket_bytes,
    refuse_sparse_adam,
)
from espnet3.components.modeling.optimizers import step_scheduler
from espnet3.components.modeling.quick_attributes import QuickAttributes
from espnet3.components.modeling.single.update_window import UpdateWindow
from espnet3.components.trainers.lightning_internals import accumulates, attached_trainer, forget_logged
from espnet3.components.trainers.named_optimizers import DDPWithoutReducer
from espnet3.errors import Diverged

log = logging.getLogger(__name__)


class SkippableOptimization(QuickAttributes):
    """The hooks of automatic optimization with one optimizer.

    A `training_step` calls `before_forward`, runs the model, and calls `skip_if`, the same way on all ranks.
    The gradients of the accepted batches of an accumulation survive a skipped one; when the batch that
    would have closed the accumulation is skipped, they go on to the next update (see `UpdateWindow`). Those
    that are not finite when an update is due are dropped instead.
    """

    def __init__(self, model: Module) -> None:
        super().__init__()
        self.model = model
        self.window = UpdateWindow()
        self.skips = Skips()
        """What was skipped because it was not finite."""
        self.nonfinite_gradients = "skip"
        """What to do about gradients of NaN or Inf: `trainer.nonfinite_gradients`."""
        self._buffers_before = KeptBuffers(model)
        self._skipping = False
        self._reduction: GradientReduction | None = None

    def reset_window(self) -> None:
        """A training begins: forget the one before, which may have ended anywhere."""
        self.window = UpdateWindow()
        self._skipping = False
        self._remove_reduction()

    def on_train_start(self) -> None:
        """Average gradients over ranks here, once per update, where the strategy does not.

        The buckets of torch's DDP change their order after the first backward pass of a process: with three
        and more ranks a resumed run would add up in another order.
        """
        if self.automatic_optimization and isinstance(self.trainer.strategy, DDPWithoutReducer):
            for optimizer in self.trainer.optimizers:
                refuse_sparse_adam("optimizer", optimizer)
            self._reduce(self._trained())

    @property
    def reduction(self) -> GradientReduction | None:
        """What averages gradients over ranks, where the strategy does not."""
        return self._reduction

    def on_fit_end(self) -> None:
        """Remove all hooks from the parameters."""
        self._remove_reduction()

    def _trained(self) -> list[Parameter]:
        """What is updated now: the parameters of all groups that are not frozen."""
        groups = (group for optimizer in self.trainer.optimizers for group in optimizer.param_groups)
        return [parameter for group in groups for parameter in group["params"] if parameter.requires_grad]

    def _reduce(self, parameters: list[Parameter]) -> GradientReduction:
        """Average the gradients of these over ranks from now on."""
        self._remove_reduction()
        self._reduction = GradientReduction(parameters, bucket_bytes=default_bucket_bytes())
        return self._reduction

    def _remove_reduction(self) -> None:
        if self._reduction is not None:
            self._reduction.remove()
            self._reduction = None

    def before_forward(self) -> None:
        """Copy what the forward pass of the next batch may change."""
        self._buffers_before.keep()

    def skip_if(self, skip: bool, batch_idx: int) -> bool:
        """Skip or accept the batch whose forward pass was run; the same on every rank.

        Raises:
            Diverged: too many batches in a row were skipped.
        """
        self._skipping = skip
        place = Place(self.current_epoch + 1, batch_idx + 1)
        is_first = self.skips.batch(place, skipped=skip)
        if skip:
            self._buffers_before.restore()
            trainer = attached_trainer(self)
            if trainer is not None:  # the loggers' next row must not repeat the batch before
                forget_logged(trainer)
            if is_first:
                log.warning("%s: the loss is NaN or Inf; the batch is skipped on all ranks", place)
            self.window.skip()
        return skip

    def count_update(self, optimizer: str, batch_idx: int, result: UpdateResult) -> None:
        """Count an update that was due; the name of a single optimizer is empty. The same on every rank.

        Raises:
            Diverged: too many in a row were skipped; or one was, and none may be.
        """
        place = Place(self.current_epoch + 1, batch_idx + 1)
        is_first = self.skips.update(optimizer, place, result)
        if not is_first:
            return
        whose = f" of {optimizer}" if optimizer else ""
        problem = f"the gradients{whose} are NaN or Inf ({briefly(result.nonfinite)})"
        if self.nonfinite_gradients == "error":
            raise Diverged(f"diverged at {place}: {problem}, and trainer.nonfinite_gradients=error")
        log.warning("%s: %s; the update is skipped on all ranks", place, problem)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Add the gradients of an accepted batch; a skipped one touches none."""
        if self._skipping:
            return
        if self.window.hold():
            for optimizer in self.trainer.optimizers:
                optimizer.zero_grad()
        if self._reduction is None or accumulates(self.trainer):
            super().backward(loss, *args, **kwargs)
            return
        parameters, reduction = self._trained(), self._reduction
        if not reduction.is_of(parameters):  # a callback has added a group, or frozen some
            reduction = self._reduce(parameters)
        with reduction.during_backward():
            super().backward(loss, *args, **kwargs)
        reduction.wait()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_mul_(gradients, 1 / self.trainer.world_size)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Nothing: the first accepted batch after an update zeroes the gradients, in `backward`."""

    def on_validation_model_zero_grad(self) -> None:
        """Free the gradients during validation, unless they are held for an update."""
        if self.automatic_optimization and not self.window.held:
            super().on_validation_model_zero_grad()

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Run the batch, then update the parameters unless it was skipped or its gradients are not finite.

        Raises:
            Diverged: see `count_update`.
        """
        assert optimizer_closure is not None
        loss = optimizer_closure()
        if self._skipping:
            return
        self._rescale(optimizer)
        result = UpdateResult(self._nonfinite_gradients(optimizer))
        if result.done:
            optimizer.step(closure=lambda: loss)
        else:
            optimizer.zero_grad()
            self._skipping = True  # a scheduler that is stepped with every update must not be
        self.window.updated()
        self.count_update("", batch_idx, result)

    def _nonfinite_gradients(self, optimizer: Optimizer) -> tuple[str, ...]:
        """Parameters whose gradients are not finite; the same on all ranks, as their sums over ranks are.

        A GradScaler does this, and more, by itself.
        """
        if self.nonfinite_gradients == "ignore" or self.trainer.precision == "16-mixed":
            return ()
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nonfinite: list[str] = []
        if not all_finite([parameter.grad for parameter in trained if parameter.grad is not None]):
            parameters = self.model.named_parameters()
            named = [(name, parameter.grad) for name, parameter in parameters if parameter.grad is not None]
            nonfinite = nonfinite_names(named)
        if self.trainer.world_size > 1 and not isinstance(self.trainer.strategy, DDPStrategy):
            # Each rank has a part of the gradients.
            found = {"nonfinite": bool(nonfinite)}
            agreed = agree(found, device=self.device, world_size=self.trainer.world_size)
            if agreed["nonfinite"] and not nonfinite:
                return ("on another rank",)
        return tuple(nonfinite)

    def _rescale(self, optimizer: Optimizer) -> None:
        """Make the gradients the mean over the accepted batches, if some were skipped.

        Before `on_before_optimizer_step`, which is the user's to override, and before clipping.
        """
        scale = self.window.scale(self.trainer.accumulate_grad_batches)
        if scale is not None:
            parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
            torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], scale)

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step the scheduler; on a skipped batch or update not one that is stepped with every update."""
        if not (self._skipping and self._steps_with_updates(scheduler)):
            step_scheduler("scheduler", scheduler, *(() if metric is None else (metric,)))

    def _steps_with_updates(self, scheduler: Any) -> bool:
        configs = self.trainer.lr_scheduler_configs
        return any(config.interval == "step" for config in configs if config.scheduler is scheduler)
