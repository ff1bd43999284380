"""Runs the named optimizers of a model: backward passes of a batch in list order, then steps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import Module

from espnet3.components.modeling.divergence.skips import UpdateResult
from espnet3.components.modeling.metrics.host_values import on_host
from espnet3.components.modeling.named.counters import Turn
from espnet3.components.modeling.named.graph import is_worth_looking, shared_with_later
from espnet3.components.modeling.named.hooks import NO_HOOKS, Hooks
from espnet3.components.modeling.named.loss_scale import LossScale
from espnet3.components.modeling.named.named_optimizer import NamedOptimizer
from espnet3.components.modeling.named.reduction import GradientReduction, refuse_sparse_adam
from espnet3.components.modeling.named.schedules import NewValue
from espnet3.components.modeling.named.selection import parameters_by_optimizer
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.config.checks.named_optimizers import NamedConfig
from espnet3.errors import UserError


class NamedOptimizers:
    """All named optimizers of a model; the order is that of the configuration.

    A step of one name never changes the parameters, gradients, optimizer state, scheduler or
    counters of another.

    Args:
        model: whose trainable parameters are divided among the optimizers.
        config: see `read_named_config`.

    Raises:
        AssertionError: a parameter does not belong to exactly one optimizer, a selector takes nothing, or
            an optimizer or scheduler cannot be used.
    """

    def __init__(self, model: Module, config: NamedConfig) -> None:
        self._model = model
        self._hooks = NO_HOOKS
        self._bucket_bytes = 1 << 20
        selectors = {name: entry.params for name, entry in config.optimizers.items()}
        parameters = parameters_by_optimizer(model, selectors)
        self._named = {
            name: NamedOptimizer(entry, config.schedulers.get(name), parameters[name])
            for name, entry in config.optimizers.items()
        }

    def __getitem__(self, name: str) -> NamedOptimizer:
        return self._named[name]

    @property
    def names(self) -> list[str]:
        """The routing keys."""
        return list(self._named)

    def values(self) -> list[NamedOptimizer]:
        """Every named optimizer."""
        return list(self._named.values())

    def connect(
        self,
        *,
        world_size: int = 1,
        loss_scaling: bool = False,
        bucket_bytes: int = 1 << 20,
        checks_gradients: bool = True,
        hooks: Hooks = NO_HOOKS,
    ) -> None:
        """Prepare for training with these ranks; the parameters are on their device.

        Args:
            world_size: number of ranks of torch.distributed's default group.
            loss_scaling: whether losses are scaled, as float16 needs it.
            bucket_bytes: gradients are sent in buckets of about this size.
            checks_gradients: whether gradients that are not finite make no update.
            hooks: called during `run`.

        Raises:
            UserError: an optimizer takes sparse gradients only, and sums over ranks are dense; or see `run`.
        """
        self.disconnect()
        self._hooks, self._bucket_bytes = hooks, bucket_bytes
        for named in self._named.values():
            if world_size > 1:
                refuse_sparse_adam(f"optimizers.{named.name}.optimizer", named.optimizer)
            self._follow(named)
            named.world_size = world_size
            named.checks_gradients = checks_gradients
            if not loss_scaling:
                named.loss_scale = None
            elif named.loss_scale is None:
                named.loss_scale = LossScale()
            if world_size > 1:
                named.reduction = GradientReduction(named.parameters, bucket_bytes=bucket_bytes)

    def disconnect(self) -> None:
        """Remove all hooks from the parameters."""
        for named in self._named.values():
            if named.reduction is not None:
                named.reduction.remove()
                named.reduction = None

    def expect(self, steps: Sequence[OptimizationStep]) -> dict[str, int]:
        """For each name what stands for the parameters without gradient; see `GradientReduction.expect`."""
        reductions = ((step, self._named[step.name].reduction) for step in steps)
        return {step.name: reduction.expect(step.loss) for step, reduction in reductions if reduction}

    def agree(self, names: Iterable[str]) -> None:
        """All ranks expect the same of the next batch, for these names."""
        for name in names:
            reduction = self._named[name].reduction
            assert reduction is not None
            reduction.agreed = True

    def run(self, steps: Sequence[OptimizationStep]) -> dict[str, UpdateResult]:
        """Run an accepted batch: all backward passes in list order, then all updates in list order.

        Args:
            steps: names of this engine, each once, and the same on all ranks.

        Returns:
            What became of the updates that were due, by name.

        Raises:
            UserError: an optimizer was given parameters that another one trains, or its loss does not reach
                its parameters (see `check_reached`).
        """
        hooks = self._hooks
        contributing = []
        for step in steps:
            named = self._named[step.name]
            self._follow(named)
            turn = named.take_turn()
            if turn is not Turn.IDLE:
                contributing.append((named, step.loss, turn))
        # What a loss shares with a later one is kept for that; of other graphs activations are freed.
        losses = [loss for _, loss, _ in contributing]
        kept = [True] * (len(losses) - 1) + [False]
        if is_worth_looking(losses):
            kept = shared_with_later(losses)
        for (named, loss, turn), retain_graph in zip(contributing, kept, strict=False):
            if hooks.on_before_backward is not None:
                hooks.on_before_backward(loss)
            if turn is Turn.UPDATE and named.reduction is not None:
                with named.reduction.during_backward():
                    named.backward(loss, retain_graph=retain_graph)
            else:
                named.backward(loss, retain_graph=retain_graph)
            if hooks.on_after_backward is not None:
                if turn is Turn.UPDATE and named.reduction is not None:
                    named.reduction.wait()
                hooks.on_after_backward()
        due = [named for named, _, turn in contributing if turn is Turn.UPDATE]
        if hooks.on_after_backward is None:
            for named in due:
                if named.reduction is not None:
                    named.reduction.wait()
        if hooks.on_before_optimizer_step is None:
            return self._update(due)
        # A hook sees the updates of the optimizers before it.
        return {name: result for named in due for name, result in self._update([named]).items()}

    def _update(self, due: Sequence[NamedOptimizer]) -> dict[str, UpdateResult]:
        """Update in order, after one read from the device for all."""
        checks = {named.name: named.prepare_update(self._hooks.on_before_optimizer_step) for named in due}
        checks |= on_host({name: check for name, check in checks.items() if isinstance(check, Tensor)})
        return {named.name: named.update(checks[named.name]) for named in due}

    def _follow(self, named: NamedOptimizer) -> None:
        """Train what the optimizer updates now: a callback may have added a group, or frozen some."""
        if not named.has_changed():
            return
        names = {parameter: name for name, parameter in self._model.named_parameters()}
        named.follow(names)
        for other in self._named.values():
            both = [names.get(p, "?") for p in set(named.parameters).intersection(other.parameters)]
            if other is not named and both:
                given = ", ".join(sorted(both))
                raise UserError(f"optimizer {named.name!r} was given {given}, which {other.name!r} trains")
        if named.reduction is not None:
            named.reduction.remove()
            named.reduction = GradientReduction(named.parameters, bucket_bytes=self._bucket_bytes)

    def end_epoch(self, new_value: NewValue) -> None:
        """Step the epoch-interval schedulers; the metrics of the epoch are aggregated."""
        for named in self._named.values():
            if named.schedule is not None:
                named.schedule.after_epoch(new_value)

    # --- what a checkpoint needs beyond the state dicts of optimizers and schedulers --------------------

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Counters and loss scales by name; the same on all ranks."""
        return {name: named.state_dict() for name, named in self._named.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            UserError: the names differ; the message has both lists.
        """
        check_names(list(state), self.names)
        for name, named in self._named.items():
            named.load_state_dict(state[name])

    def held_gradients(self) -> dict[str, dict[str, Tensor]]:
        """Per optimizer in the middle of an accumulation its gradients by parameter; see NamedOptimizer.

        They are not summed over ranks yet, so every rank has its own. Empty when every optimizer has
        just made an update.
        """
        return {
            name: named.held_gradients()
            for name, named in self._named.items()
            if named.counters.accum_counter > 0
        }

    def set_held_gradients(self, held: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore what `held_gradients` returned on this rank; optimizers that are not in it hold none.

        Raises:
            KeyError: a name is not that of an optimizer, or of a parameter of that optimizer.
        """
        for named in self._named.values():
            self._follow(named)
        unknown = [name for name in held if name not in self._named]
        if unknown:
            raise KeyError(f"there is no optimizer {', '.join(unknown)}; known are {', '.join(self._named)}")
        for name, named in self._named.items():
            named.set_held_gradients(held.get(name, {}))


def check_names(saved: Sequence[str], configured: Sequence[str]) -> None:
    """Compare the optimizers of a checkpoint with those of the configuration; their order may differ.

    Raises:
        UserError: they differ; the message has both lists.
    """
    if set(saved) != set(configured):
        raise UserError(
            "the checkpoint is of other named optimizers than the configuration: the checkpoint has"
            f" {', '.join(saved) or 'none'}; the configuration has {', '.join(configured) or 'none'}"
        )
