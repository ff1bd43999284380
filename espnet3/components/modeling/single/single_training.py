"""Training with one optimizer, `optimizer`, which Lightning runs; used by the LightningModule."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn import Module
from torch.optim.lr_scheduler import ReduceLROnPlateau

from espnet3.components.modeling.control import agree_and_read, compared, is_equal, mistakes_of_ranks
from espnet3.components.modeling.divergence.finite import finite_losses, nonfinite
from espnet3.components.modeling.metrics.epoch_metrics import ToRead, nothing_to_read
from espnet3.components.modeling.model_output import ModelOutput, read_output
from espnet3.components.modeling.named.schedules import NewValue
from espnet3.components.modeling.named_training import refuse_named
from espnet3.components.modeling.optimizers import make_optimizer, make_scheduler, step_scheduler
from espnet3.components.modeling.single.skippable_optimization import SkippableOptimization
from espnet3.components.modeling.training_length import TrainingLength
from espnet3.config.checks.optimizers import check_plateau, read_single_config
from espnet3.errors import ConfigurationError

SingleOutput = ModelOutput[Tensor]


class SingleTraining:
    """The single optimizer of a LightningModule, as far as Lightning's automatic optimization does not do it.

    Args:
        config: with `optimizer`, perhaps `scheduler`, `scheduler_interval` and `scheduler_monitor`; read when
            the optimizer is made.
    """

    def __init__(self, config: Any) -> None:
        self._given = config
        self._trainer: Trainer | None = None

    def configure(
        self, model: Module, trainer: Trainer | None, length: Callable[[], TrainingLength]
    ) -> dict[str, Any]:
        """Make the optimizer for the trainable parameters, and the scheduler if one is given, for Lightning.

        Args:
            model: whose parameters are updated.
            trainer: not used: any can run one optimizer.
            length: of the training, for a scheduler that takes `length`.

        Raises:
            ConfigurationError: see `read_single_config`; nothing is trainable; the optimizer cannot be used.
            ValueError: `optimizer` is not given.
            UserError: a `_target_` does not exist or refuses its options.
        """
        config = read_single_config(self._given)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not trainable:
            raise ConfigurationError(
                "the model has no trainable parameter: nothing for the optimizer to update"
            )
        optimizer = make_optimizer("optimizer", config.optimizer, trainable)
        if config.scheduler is None:
            return {"optimizer": optimizer}
        scheduler = make_scheduler("scheduler", config.scheduler, optimizer, length)
        if isinstance(scheduler, ReduceLROnPlateau):  # perhaps by another name
            check_plateau(config)
        monitor = {"monitor": config.monitor} if config.monitor else {}
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": config.interval, **monitor},
        }

    def reset(self) -> None:
        """Nothing: the optimizer is made for each training."""
        self._trainer = None

    def connect(self, trainer: Trainer) -> None:
        """Keep Lightning from stepping a monitored epoch-interval scheduler: see `end_epoch`."""
        self._trainer = trainer
        for config in self._monitored():
            config.frequency = sys.maxsize

    def begin(self) -> None:
        """The first batch comes next."""

    def disconnect(self) -> None:
        """Training is over."""
        self._trainer = None

    # --- a batch ------------------------------------------------------------------------------------------

    def read(self, returned: Any, utterances: int) -> SingleOutput:
        """What the model returned for a batch of `utterances`.

        Raises:
            AssertionError: see `read_output`.
        """
        return read_output(returned, utterances)

    def is_finite(self, loss: Tensor) -> Tensor:
        """Whether the loss is neither NaN nor Inf: bool of shape ()."""
        return finite_losses([loss])

    def agree(
        self,
        returned: Any,
        utterances: int,
        flags: Mapping[str, int | bool],
        device: torch.device,
        trainer: Trainer | None,
        to_read: ToRead = nothing_to_read,
    ) -> tuple[SingleOutput, dict[str, int], dict[str, Tensor]]:
        """As `read`; what all ranks agree on, `flags` and `nonfinite`; and what `to_read` chose, on the host.

        One collective, the control collective, and one read from the device.

        Raises:
            AssertionError: on all ranks, see `read_output`; what this rank's was is its cause.
        """
        world_size = 1 if trainer is None else trainer.world_size
        output: SingleOutput | None = None
        mistake: AssertionError | None = None
        try:
            output = self.read(returned, utterances)
        except AssertionError as error:
            if world_size == 1:
                raise
            mistake = error
        values: dict[str, int | bool | Tensor] = dict(flags)
        values["nonfinite"] = 0 if output is None else nonfinite([output.loss])
        module = None if trainer is None else trainer.lightning_module
        reduction = module.reduction if isinstance(module, SkippableOptimization) else None
        if world_size > 1:
            values["mistake"] = mistake is not None
            expected = 0 if reduction is None or output is None else reduction.expect(output.loss)
            values |= compared("unreached", expected)
        wanted = {} if output is None else to_read(output.stats)
        agreed, read = agree_and_read(values, wanted, device=device, world_size=world_size)
        if agreed.pop("mistake", False):
            raise AssertionError("; ".join(mistakes_of_ranks(mistake, world_size))) from mistake
        assert output is not None
        if reduction is not None:
            reduction.agreed = bool(agreed["unreached"]) and is_equal("unreached", agreed)
        return output, agreed, read

    def run(self, loss: Tensor) -> dict[str, Tensor]:
        """Nothing: Lightning runs an accepted batch, and nothing more is logged about it."""
        return {}

    def end_epoch(self, new_value: NewValue) -> None:
        """Step a scheduler that monitors a metric, where this epoch has a new value of it.

        Lightning would step it after writing the epoch's checkpoint, and a resumed run would lose that step.
        """
        for config in self._monitored():
            value = new_value("scheduler_monitor", str(config.monitor))
            if value is not None:
                step_scheduler("scheduler", config.scheduler, value)

    def _monitored(self) -> list[Any]:
        assert self._trainer is not None, "connect was not called"
        configs = self._trainer.lr_scheduler_configs
        return [config for config in configs if config.reduce_on_plateau and config.interval == "epoch"]

    # --- checkpoints --------------------------------------------------------------------------------------

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Nothing: Lightning saves everything."""

    def load(self, checkpoint: Mapping[str, Any], lightning_checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of named optimizers.

        Raises:
            UserError: with their names.
        """
        refuse_named(checkpoint)
