"""One network with one optimizer, by the module and by the shortest LightningModule that does the same."""

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from competitors.gan import network
from competitors.setting import ADAM, Setting
from competitors.trainers import fit_documented, fit_ours
from espnet3.components.modeling.lightning_module import ESPnetLightningModule


class Single(nn.Module):
    """Four linear layers that learn the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = network(width)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor], None]:
        """The loss, as ESPnetLightningModule expects it; x is (B, width)."""
        loss = (self.network(x) - x).square().mean()
        return loss, {"loss": loss.detach()}, None


class Minimal(LightningModule):
    """The shortest LightningModule."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.model = Single(setting.width)

    def training_step(self, batch: tuple, batch_idx: int) -> Tensor:
        """Compute the loss, and log it."""
        loss, stats, _ = self.model(batch[1]["x"])
        self.log("train/loss", stats["loss"], prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The same as the module's."""
        return torch.optim.Adam(self.model.parameters(), lr=ADAM["lr"])


def wrapper(setting: Setting, steps: int) -> tuple[nn.Module, list[float]]:
    """ESPnetLightningModule with one optimizer."""
    model = Single(setting.width)
    module = ESPnetLightningModule(model, {"optimizer": ADAM})
    module.val_dataloader = lambda: []
    return model, fit_ours(module, setting, steps)


def minimal(setting: Setting, steps: int) -> tuple[nn.Module, list[float]]:
    """The shortest LightningModule."""
    module = Minimal(setting)
    return module.model, fit_documented(module, setting, steps)
