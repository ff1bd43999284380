"""A summary of a training in a few lines for the log."""

import inspect
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer
from torch.nn import Module

from espnet3.number_text import counted


def training_summary(model: Module, trainer: Trainer, names: Sequence[str] = ()) -> str:
    """Model, parameters, optimizers, schedulers, ranks and precision, one per line.

    Args:
        model: what is trained.
        trainer: with its optimizers and schedulers.
        names: of the optimizers; empty where there is a single, unnamed one.
    """
    titles = [f"optimizer {name}" for name in names] or ["optimizer"]
    parameters = list(model.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    trainable = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    lines = [
        f"model: {type(model).__name__}, {total:,} parameters, {trainable:,} trainable",
        *(f"{title}: {_options(one)}" for title, one in zip(titles, trainer.optimizers, strict=True)),
        *(_scheduler(config, trainer, names) for config in trainer.lr_scheduler_configs),
        f"ranks: {trainer.world_size} on {counted(trainer.num_nodes, 'node')},"
        f" {trainer.strategy.root_device.type}, precision {trainer.precision}, "
        f"{_batches(trainer)} per epoch and rank",
    ]
    return "training\n" + "\n".join(f"  {line}" for line in lines)


def _batches(trainer: Trainer) -> str:
    count = trainer.num_training_batches
    return "1 batch" if count == 1 else f"{count} batches"


def _scheduler(config: Any, trainer: Trainer, names: Sequence[str]) -> str:
    driven = getattr(config.scheduler, "optimizer", None)
    name = next(
        (f" {name}" for name, one in zip(names, trainer.optimizers, strict=False) if one is driven), ""
    )
    monitor = f", by {config.monitor}" if config.monitor else ""
    return f"scheduler{name}: {type(config.scheduler).__name__}, every {config.interval}{monitor}"


def _options(optimizer: Any) -> str:
    """The optimizer's class, its learning rate, and options other than the defaults, as lr=0.1, eps=1."""
    defaults = {key: option.default for key, option in inspect.signature(type(optimizer)).parameters.items()}
    group = optimizer.param_groups[0]
    rate = group.get("initial_lr", group["lr"])  # that of the first update, where a scheduler changes it
    options = {key: group[key] for key in defaults if key in group and key not in ("params", "lr")}
    changed = [f"{key}={value}" for key, value in options.items() if value != defaults[key]]
    return f"{type(optimizer).__name__}({', '.join([f'lr={rate}', *changed])})"
