"""Training with named optimizers, which `optimizers` configures; used by the LightningModule."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

import torch
import torch.distributed
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn import Module

from espnet3.components.modeling.divergence.finite import finite_losses
from espnet3.components.modeling.divergence.skips import UpdateResult
from espnet3.components.modeling.metrics.epoch_metrics import ToRead, nothing_to_read
from espnet3.components.modeling.model_output import ModelOutput, check_stat_names, read_output_with
from espnet3.components.modeling.named.engine import NamedOptimizers, check_names
from espnet3.components.modeling.named.hooks import Hooks
from espnet3.components.modeling.named.reduction import default_bucket_bytes
from espnet3.components.modeling.named.routing import Router, read_steps
from espnet3.components.modeling.named.schedules import NewValue
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.components.modeling.training_length import TrainingLength
from espnet3.components.trainers.lightning_internals import count_step, overridden_hook
from espnet3.components.trainers.named_optimizers import check_trainer
from espnet3.config.checks.named_optimizers import NamedConfig, read_named_config
from espnet3.config.checks.trainer_keys import nonfinite_gradients
from espnet3.errors import UserError

log = logging.getLogger(__name__)

NamedOutput = ModelOutput[list[OptimizationStep]]

KEY = "named"
LOGGED = ("loss", "lr", "update_step", "grad_norm", "nonfinite_gradients")
"""What is logged about each optimizer, as `train/<name>/<key>`."""
HOOKS = tuple(field.name for field in fields(Hooks))


class NamedTraining:
    """The named optimizers of a LightningModule, from their configuration to what is logged.

    Args:
        config: with `optimizers`, perhaps `schedulers`; read when it is first needed.
    """

    def __init__(self, config: Any) -> None:
        self._given = config
        self._config: NamedConfig | None = None
        self._reserved: frozenset[str] = frozenset()
        """Keys of statistics that would hide what is logged about an optimizer."""
        self._router: Router | None = None
        self._engine: NamedOptimizers | None = None
        self._restored: Mapping[str, Mapping[str, Any]] | None = None
        self.updates: dict[str, UpdateResult] = {}
        """What became of the updates that were due in the last batch, by name."""

    @property
    def config(self) -> NamedConfig:
        """The configuration, checked; see `read_named_config`."""
        if self._config is None:
            self._config = read_named_config(self._given)
            self._reserved = frozenset(f"{name}/{key}" for name in self._config.optimizers for key in LOGGED)
        return self._config

    @property
    def engine(self) -> NamedOptimizers:
        """The optimizers; there once `configure` was called.

        Its `held_gradients` and `set_held_gradients` are for checkpoints inside an accumulation.
        """
        assert self._engine is not None, "configure_optimizers was not called yet"
        return self._engine

    # --- before training --------------------------------------------------------------------------------

    def reset(self) -> None:
        """A training begins: forget the one before, which may have ended anywhere."""
        if self._engine is not None:
            self._engine.disconnect()
        self._engine = self._restored = None

    def configure(
        self, model: Module, trainer: Trainer | None, length: Callable[[], TrainingLength]
    ) -> list[dict[str, Any]]:
        """Make optimizers and schedulers, as a list for Lightning, in the order of the configuration.

        Counters continue from a checkpoint that was restored before.

        Args:
            model: whose parameters are divided among the optimizers.
            trainer: which must be able to run them.
            length: not used: the model decides how often each optimizer updates.

        Raises:
            AssertionError: a mistake in the configuration, see `read_named_config` and `NamedOptimizers`;
                or the Trainer is to clip gradients or to accumulate them.
            RuntimeError: the Trainer's strategy cannot run named optimizers.
        """
        if trainer is not None:
            check_trainer(trainer)
        self._engine = NamedOptimizers(model, self.config)
        if self._restored is not None:
            self._engine.load_state_dict(self._restored)
            self._restored = None
        return [
            {"optimizer": named.optimizer}
            if named.schedule is None
            else {
                "optimizer": named.optimizer,
                "lr_scheduler": {"scheduler": named.schedule.scheduler, "name": f"lr/{named.name}"},
            }
            for named in self._engine.values()
        ]

    def connect(self, trainer: Trainer) -> None:
        """Prepare for training with this Trainer; the parameters are on their device.

        Raises:
            UserError: a scheduler is not ours: Lightning's search for a learning rate replaces it.
        """
        schedules = {id(n.schedule.scheduler): n.schedule for n in self.engine.values() if n.schedule}
        if any(id(config.scheduler) not in schedules for config in trainer.lr_scheduler_configs):
            raise UserError(
                "Lightning's search for a learning rate cannot run with named optimizers: sweep"
                " optimizers.<name>.optimizer.lr, or give a single `optimizer`"
            )
        self.engine.connect(
            world_size=trainer.world_size,
            loss_scaling=trainer.precision == "16-mixed",
            bucket_bytes=default_bucket_bytes(),
            checks_gradients=nonfinite_gradients(self._given) != "ignore",
            hooks=Hooks(**{name: overridden_hook(trainer, name) for name in HOOKS}),
        )
        for config in trainer.lr_scheduler_configs:  # read by the summary of the training
            schedule = schedules[id(config.scheduler)]
            config.interval, config.monitor = schedule.config.interval, schedule.config.monitor

    def begin(self) -> None:
        """The first batch comes next; drop gradients that are no contribution, and the converse.

        A training that ended inside an accumulation has left gradients; a checkpoint of Lightning's has none.
        """
        for named in self.engine.values():
            if not named.counters.accum_counter:
                named.set_held_gradients({})
            elif not named.held_gradients():
                log.warning(
                    "optimizer %s: %d contributions to its next update are lost",
                    named.name,
                    named.counters.accum_counter,
                )
                named.counters.accum_counter = 0

    def disconnect(self) -> None:
        """Training is over."""
        self.engine.disconnect()

    # --- a batch ------------------------------------------------------------------------------------------

    def read(self, returned: Any, utterances: int) -> NamedOutput:
        """What the model returned for a batch of `utterances`; each loss is one of its statistics too.

        Raises:
            AssertionError: see `read_output` and `read_steps`; or a statistic is named as one of ours.
        """
        names = tuple(self.config.optimizers)
        output = read_output_with(lambda loss: read_steps(loss, names), returned, utterances)
        reserved = self._reserved & output.stats.keys()
        if reserved:
            raise AssertionError(
                f"stats[{min(reserved)!r}] is what is logged about an optimizer: give it another name"
            )
        for step in output.loss:
            output.stats[f"{step.name}/loss"] = step.loss.detach().reshape(())
        check_stat_names(output.stats)
        return output

    def is_finite(self, steps: Sequence[OptimizationStep]) -> Tensor:
        """Whether no loss is NaN or Inf: bool of shape ()."""
        return finite_losses([step.loss for step in steps])

    def agree(
        self,
        returned: Any,
        utterances: int,
        flags: Mapping[str, int | bool],
        device: torch.device,
        trainer: Trainer | None,
        to_read: ToRead = nothing_to_read,
    ) -> tuple[NamedOutput, dict[str, int], dict[str, Tensor]]:
        """As `read`; what all ranks agree on, `flags` and `nonfinite`; and what `to_read` chose, on the host.

        One collective, the control collective, and one read from the device.

        Raises:
            AssertionError: on all ranks, see `Router.route`.
        """
        if self._router is None:
            self._router = Router(list(self.config.optimizers))
        outputs: list[NamedOutput] = []

        def read() -> list[OptimizationStep]:
            outputs.append(self.read(returned, utterances))
            return outputs[0].loss

        world_size = 1 if trainer is None else trainer.world_size
        routed = self._router.route(
            read,
            flags,
            device=device,
            world_size=world_size,
            readings=lambda: to_read(outputs[0].stats),
            expect=lambda: self.engine.expect(outputs[0].loss),
        )
        if routed.agreed:
            self.engine.agree(routed.agreed)
        if trainer is not None:  # max_steps and the names of checkpoints mean batches, whatever they update
            count_step(trainer)
        return outputs[0], {**routed.flags, "nonfinite": int(routed.nonfinite)}, routed.read

    def run(self, steps: list[OptimizationStep]) -> dict[str, Tensor]:
        """Run an accepted batch; returns what to log about the optimizers it names."""
        engine = self.engine
        device = steps[0].loss.device.type
        if torch.is_autocast_enabled(device):  # a backward pass has the types of its forward pass already
            with torch.autocast(device, enabled=False):
                self.updates = engine.run(steps)
        else:
            self.updates = engine.run(steps)
        logged: dict[str, Tensor] = {}
        for step in steps:
            named = engine[step.name]
            # On the CPU, where the values are: no copy to a device and back.
            rate = named.optimizer.param_groups[0]["lr"]
            logged[f"{step.name}/lr"] = rate if isinstance(rate, Tensor) else _number(rate)
            logged[f"{step.name}/update_step"] = _number(float(named.counters.update_step))
            result = self.updates.get(step.name)
            if named.grad_norm is not None and result is not None and result.done:
                logged[f"{step.name}/grad_norm"] = named.grad_norm
        return logged

    def holding(self) -> dict[str, bool]:
        """Whether each optimizer holds gradients for an update to come."""
        return {named.name: named.counters.accum_counter > 0 for named in self.engine.values()}

    def end_epoch(self, new_value: NewValue) -> None:
        """Step the epoch-interval schedulers; the metrics of the epoch are aggregated."""
        self.engine.end_epoch(new_value)

    # --- checkpoints --------------------------------------------------------------------------------------

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Add the counters by name, in the order of Lightning's optimizer states."""
        if self._engine is not None:
            checkpoint[KEY] = self._engine.state_dict()

    def load(self, checkpoint: dict[str, Any], lightning_checkpoint: dict[str, Any]) -> None:
        """Take the counters; before `configure` they wait for it, as in Lightning's fit.

        Lightning's states are in the order of the configuration that was saved: they are put into this one's.

        Raises:
            UserError: the names differ from the configuration's; the message has both lists.
        """
        state = checkpoint.get(KEY, {})
        configured = list(self.config.optimizers)
        check_names(list(state), configured)
        if self._engine is None:
            self._restored = state
        else:
            self._engine.load_state_dict(state)
        for key in ("optimizer_states", "lr_schedulers"):
            states = dict(zip(state, lightning_checkpoint.get(key, ()), strict=False))
            if len(states) == len(configured):
                lightning_checkpoint[key] = [states[name] for name in configured]


@lru_cache(maxsize=16)
def _number(value: float) -> Tensor:
    """As a tensor: to make one takes longer than to add it up."""
    return torch.tensor(value)


def refuse_named(checkpoint: Mapping[str, Any]) -> None:
    """The configuration has a single optimizer: refuse the checkpoint of named ones.

    Raises:
        UserError: with the names of the checkpoint.
    """
    check_names(list(checkpoint.get(KEY, {})), [])
