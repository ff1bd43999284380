"""Tell a mistyped monitor before the first epoch, by one batch of validation."""

from collections.abc import Mapping

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from espnet3.components.modeling.metrics.monitored_metric import NeverLogged, is_known_not_logged
from espnet3.errors import suggestion


class MonitorCheck(Callback):
    """After Lightning's sanity check of the validation, compares what it logged with what is monitored.

    Args:
        monitors: key of the configuration -> the metric it names.

    Raises:
        NeverLogged: from `on_validation_end`, when a metric of validation was not logged and others were.
    """

    def __init__(self, monitors: Mapping[str, str]) -> None:
        self.monitors = monitors

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Look at the metrics of the batch."""
        if not trainer.sanity_checking:
            return
        for key, name in self.monitors.items():
            if name.startswith("valid/") and is_known_not_logged(trainer, name):
                logged = [metric for metric in trainer.callback_metrics if metric.startswith("valid/")]
                raise NeverLogged(
                    f"{key}={name}: validation logs {', '.join(sorted(logged))}; {suggestion(name, logged)}"
                    " (One batch was tried; if others log more, give +trainer.num_sanity_val_steps=0)"
                )


def monitors(config: DictConfig) -> dict[str, str]:
    """The metrics that the configuration names, by key."""
    keys = ["checkpoint.monitor", "scheduler_monitor"]
    keys += [f"schedulers.{name}.monitor" for name in config.get("schedulers") or ()]
    named = {key: OmegaConf.select(config, key) for key in keys}
    return {key: str(name) for key, name in named.items() if name}
