"""One named optimizer: its parameters, counters, clipping, scheduler and loss scale, and its update."""

import logging
import math
from collections.abc import Callable, Mapping
from operator import is_
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from espnet3.components.modeling.divergence.finite import nonfinite_names, total
from espnet3.components.modeling.divergence.skips import UpdateResult
from espnet3.components.modeling.named.clipping import clip_to_norm, clip_to_value, total_norm
from espnet3.components.modeling.named.counters import Counters, Turn
from espnet3.components.modeling.named.graph import check_reached
from espnet3.components.modeling.named.loss_scale import LossScale
from espnet3.components.modeling.named.reduction import GradientReduction
from espnet3.components.modeling.named.schedules import Schedule
from espnet3.components.modeling.optimizers import make_optimizer
from espnet3.config.checks.named_optimizers import NamedOptimizerConfig, NamedSchedulerConfig

log = logging.getLogger(__name__)


class NamedOptimizer:
    """Everything that belongs to one name, and that no other name may touch.

    Args:
        config: its entry of `optimizers`.
        scheduler: its entry of `schedulers`, if there is one.
        parameters: those it trains, by name.

    Raises:
        AssertionError, UserError: the optimizer or the scheduler cannot be made; see `optimizers`.
    """

    def __init__(
        self,
        config: NamedOptimizerConfig,
        scheduler: NamedSchedulerConfig | None,
        parameters: Mapping[str, Parameter],
    ) -> None:
        self.config = config
        self.name = config.name
        self.parameters = tuple(parameters.values())
        self.parameter_names = tuple(parameters)
        self.optimizer = make_optimizer(
            f"optimizers.{config.name}.optimizer", config.optimizer, self.parameters
        )
        self._followed = self._trainable()
        self.schedule = None if scheduler is None else Schedule(scheduler, self.optimizer)
        self.counters = Counters()
        self.loss_scale: LossScale | None = None
        self.reduction: GradientReduction | None = None
        self.world_size = 1
        self.checks_gradients = True
        """Whether gradients that are not finite make no update; those under a loss scale never do."""
        self.grad_norm: Tensor | None = None
        """Norm of the gradients of the last update, before clipping by norm; None without that."""
        self._norm: Tensor | None = None
        """Of the gradients of the update that is being made, where it is needed."""
        self._is_checked = False
        self._seeds: dict[tuple[torch.dtype, torch.device, float], Tensor] = {}

    def has_changed(self) -> bool:
        """Whether the optimizer got or lost parameters, or some were frozen or released, since `follow`."""
        now = self._trainable()
        return len(now) != len(self._followed) or not all(map(is_, now, self._followed))

    def follow(self, names: Mapping[Parameter, str]) -> None:
        """Train what the optimizer updates now; a contribution of other parameters is dropped.

        Args:
            names: of all parameters of the model.
        """
        now = self._trainable()
        for parameter in set(self.parameters).difference(now):
            parameter.grad = None
        self._followed, self.parameters = now, tuple(now)
        self.parameter_names = tuple(names.get(parameter, "a parameter of no module") for parameter in now)
        self._is_checked = False

    def take_turn(self) -> Turn:
        """Count an accepted batch that names this optimizer; returns what to do with it."""
        return self.counters.accept(self.config.accum_grad_steps, self.config.step_every_n_iters)

    def backward(self, loss: Tensor, *, retain_graph: bool) -> None:
        """Add the loss's gradients to those held, for this optimizer's parameters only.

        They are scaled so that their sum over contributions and ranks is the mean.

        Raises:
            UserError: at the first, see `check_reached`.
        """
        if loss.requires_grad and not self._is_checked:
            named = dict(zip(self.parameter_names, self.parameters, strict=True))
            warning = check_reached(self.name, loss, named)
            if warning is not None:
                log.warning("%s", warning)
            self._is_checked = True
        if loss.requires_grad and self.parameters:
            torch.autograd.backward(loss, self._seed(loss), retain_graph=retain_graph, inputs=self.parameters)

    def prepare_update(self, before_step: Callable[[Optimizer], None] | None = None) -> Tensor | float | None:
        """Unscale the gradients held, and call `before_step`; `update` comes next.

        Args:
            before_step: called with the optimizer, before its gradients are clipped; may change them.

        Returns:
            A number that is finite only if all gradients are, shape () where it is a tensor, equal on all
            ranks; None where they are not to be checked.
        """
        if self.loss_scale is not None:
            self._unscale(self._gradients(), self.loss_scale)
        if before_step is not None:
            before_step(self.optimizer)
        self._norm, gradients = None, self._gradients()
        if gradients and (self.loss_scale is not None or self._clips_by_norm):
            self._norm = total_norm(gradients)
        if not gradients or not (self.checks_gradients or self.loss_scale is not None):
            return None
        return total(gradients) if self._norm is None else self._norm

    def update(self, checked: Tensor | float | None) -> UpdateResult:
        """Update the parameters from the gradients held, release these, and step the scheduler.

        Args:
            checked: what `prepare_update` returned, on the CPU.
        """
        result = self._verdict(checked)
        if result.done:
            self._clip(checked)
            self.optimizer.step()
        for parameter in self.parameters:
            parameter.grad = None
        self.counters.used(updated=result.done)
        if result.done and self.schedule is not None:
            self.schedule.after_update()
        return result

    def state_dict(self) -> dict[str, Any]:
        """Counters and loss scale; the optimizer and the scheduler have state dicts of their own."""
        state: dict[str, Any] = dict(self.counters.state_dict())
        if self.loss_scale is not None:
            state["loss_scale"] = self.loss_scale.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.counters.load_state_dict({"iterations": self._iterations(state), **state})
        if "loss_scale" in state:
            self.loss_scale = LossScale()
            self.loss_scale.load_state_dict(state["loss_scale"])

    def held_gradients(self) -> dict[str, Tensor]:
        """The gradients that wait for an update, by parameter; this rank's own, and not copies.

        Between two updates of `accum_grad_steps` they are sums over the contributions so far, each
        divided by contributions * ranks (and times the loss scale). Parameters without gradient are left out.
        """
        held = zip(self.parameter_names, self.parameters, strict=True)
        return {name: parameter.grad for name, parameter in held if parameter.grad is not None}

    def set_held_gradients(self, held: Mapping[str, Tensor]) -> None:
        """Restore what `held_gradients` returned, copied to the device of the parameters.

        Raises:
            KeyError: a name is not that of a parameter of this optimizer.
        """
        own = dict(zip(self.parameter_names, self.parameters, strict=True))
        unknown = [name for name in held if name not in own]
        if unknown:
            raise KeyError(f"optimizer {self.name!r} does not train {', '.join(unknown)}")
        for name, parameter in own.items():
            gradient = held.get(name)
            parameter.grad = None
            if gradient is not None:
                parameter.grad = restored_gradient(parameter, gradient)

    def _trainable(self) -> list[Parameter]:
        """The parameters that the optimizer updates now: of all its groups, those that are not frozen."""
        return [
            parameter
            for group in self.optimizer.param_groups
            for parameter in group["params"]
            if parameter.requires_grad
        ]

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    @staticmethod
    @torch.no_grad()
    def _unscale(gradients: list[Tensor], loss_scale: LossScale) -> None:
        if gradients:
            torch._foreach_mul_(gradients, 1.0 / loss_scale.scale)

    def _verdict(self, checked: Tensor | float | None) -> UpdateResult:
        """Whether the gradients may be used."""
        is_finite = checked is None or math.isfinite(checked)
        if self.loss_scale is not None and checked is not None:
            self.loss_scale.update(overflow=not is_finite)
            return UpdateResult(overflowed=not is_finite)
        # Where only a sum has overflowed there are no names.
        return (
            UpdateResult()
            if is_finite
            else UpdateResult(tuple(nonfinite_names(self.held_gradients().items())))
        )

    @property
    def _clips_by_norm(self) -> bool:
        return self.config.gradient_clip_val is not None and self.config.gradient_clip_algorithm == "norm"

    def _clip(self, checked: Tensor | float | None) -> None:
        clip = self.config.gradient_clip_val
        gradients = [] if clip is None else self._gradients()
        if clip is None or not gradients:
            return
        if self._norm is not None and self._clips_by_norm:
            # Its value is on the CPU already, where it was checked: a log need not read it again.
            self.grad_norm = checked if isinstance(checked, Tensor) else self._norm
            clip_to_norm(gradients, self._norm, clip)
        else:
            clip_to_value(gradients, clip)

    def _iterations(self, state: Mapping[str, Any]) -> int:
        """The iterations behind `accum_counter` and `update_step`, which other programs save alone."""
        contributions = state["update_step"] * self.config.accum_grad_steps + state["accum_counter"]
        return int(contributions * self.config.step_every_n_iters)

    def _seed(self, loss: Tensor) -> Tensor:
        """The gradient of the loss by itself: 1 / (contributions * ranks), times the loss scale."""
        scale = 1.0 if self.loss_scale is None else self.loss_scale.scale
        key = (loss.dtype, loss.device, scale)
        seed = self._seeds.get(key)
        if seed is None:
            contributions = self.config.accum_grad_steps * self.world_size
            seed = torch.ones((), dtype=loss.dtype, device=loss.device) * scale / contributions
            self._seeds = {key: seed}
        return seed if loss.dim() == 0 else seed.expand(loss.shape)


def restored_gradient(parameter: Parameter, saved: Tensor) -> Tensor:
    """A copy of a saved gradient on the parameter's device, with its strides; a sparse one stays sparse."""
    if saved.is_sparse:
        return saved.to(parameter.device, copy=True)
    return torch.empty_like(parameter).copy_(saved)
