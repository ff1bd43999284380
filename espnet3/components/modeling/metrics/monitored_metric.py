"""The value of the metric that a scheduler or the choice of the best checkpoint monitors."""

from lightning.pytorch import Trainer
from torch import Tensor

from espnet3.errors import UserError

SKIPPED = "valid/skipped_batches"
"""How many batches of validation had a loss of NaN or Inf."""


class NeverLogged(UserError):
    """The metric should have been logged and was not; the message lists what was logged."""


def monitored_value(trainer: Trainer, key: str, name: str, *, validated: bool) -> Tensor | None:
    """The value of the metric `name` at the end of an epoch; None when this epoch made no new one.

    Args:
        trainer: whose `callback_metrics` are read.
        key: the key of the configuration that names it, for the error.
        name: as `valid/loss` or `train/loss`.
        validated: whether a validation was done in this epoch.

    Raises:
        NeverLogged: it should have been logged, and was not.
    """
    metrics = trainer.callback_metrics
    if name not in metrics:
        if not validated and _validates(trainer):
            return None  # the first validation is still to come (check_val_every_n_epoch)
        logged = ", ".join(sorted(metrics)) or "nothing"
        raise NeverLogged(f"{key}={name} was never logged; logged are: {logged}")
    return None if name.startswith("valid/") and not validated else metrics[name]


def is_known_not_logged(trainer: Trainer, name: str) -> bool:
    """Whether other metrics of the same split were logged, and `name` was not: it must be mistyped.

    Where no batch had a finite loss nothing was logged, and nothing is known.
    """
    split = f"{name.partition('/')[0]}/"
    logged = [key for key in trainer.callback_metrics if key.startswith(split) and key != SKIPPED]
    return bool(logged) and name not in logged


def _validates(trainer: Trainer) -> bool:
    """Whether there is validation data, or its loaders do not exist yet."""
    return trainer.enable_validation and (trainer.val_dataloaders is None or sum(trainer.num_val_batches) > 0)
