"""The same GAN, two networks of four linear layers each, trained in four ways."""

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.parallel import DistributedDataParallel

from competitors.setting import ADAM, CLOCK, RANKS, Setting, differences
from competitors.trainers import fit_documented, fit_ours
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.components.modeling.optimization_spec import OptimizationStep

NAMES = ("generator", "discriminator")


def network(width: int) -> nn.Sequential:
    """Four linear layers."""
    layers = [module for _ in range(3) for module in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, width))


class Gan(nn.Module):
    """Both losses from one forward pass."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.generator, self.discriminator = network(width), network(width)

    def discriminator_loss(self, x: Tensor, fake: Tensor) -> Tensor:
        """The loss of classifying real samples (B, width) and generated ones."""
        return softplus(-self.discriminator(x)).mean() + softplus(self.discriminator(fake.detach())).mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        """The loss of samples that the discriminator takes for generated ones."""
        return softplus(-self.discriminator(fake)).mean()

    def forward(self, x: Tensor) -> tuple[list[OptimizationStep], dict[str, Tensor], None]:
        """The losses of both networks, as ESPnetLightningModule expects them."""
        fake = self.generator(x)
        return (
            [
                OptimizationStep(self.discriminator_loss(x, fake), "discriminator"),
                OptimizationStep(self.generator_loss(fake), "generator"),
            ],
            {},
            None,
        )


def named(setting: Setting, steps: int) -> tuple[Gan, list[float]]:
    """ESPnetLightningModule with named optimizers."""
    optimizers = {
        name: {"optimizer": ADAM, "params": name, "accum_grad_steps": setting.accumulate} for name in NAMES
    }
    gan = Gan(setting.width)
    module = ESPnetLightningModule(gan, {"optimizers": optimizers})
    module.val_dataloader = lambda: []
    return gan, fit_ours(module, setting, steps)


class Documented(LightningModule):
    """As in Lightning's documentation: Manual Optimization, multiple optimizers, gradient accumulation."""

    def __init__(self, setting: Setting, toggle: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.gan = Gan(setting.width)
        self.accumulate, self.toggle = setting.accumulate, toggle

    def training_step(self, batch: tuple, batch_idx: int) -> None:
        """Update the discriminator, then the generator."""
        x = batch[1]["x"]
        g_opt, d_opt = self.optimizers()
        n = self.accumulate
        fake = self.gan.generator(x)
        losses = {}
        for opt, name in ((d_opt, "d_loss"), (g_opt, "g_loss")):
            if self.toggle:
                self.toggle_optimizer(opt)
            loss = self.gan.discriminator_loss(x, fake) if opt is d_opt else self.gan.generator_loss(fake)
            losses[name] = loss
            if batch_idx % n == 0:
                opt.zero_grad()
            self.manual_backward(loss / n)
            if (batch_idx + 1) % n == 0:
                opt.step()
            if self.toggle:
                self.untoggle_optimizer(opt)
        self.log_dict(losses, prog_bar=True)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One for each network."""
        return [torch.optim.Adam(getattr(self.gan, name).parameters(), lr=ADAM["lr"]) for name in NAMES]


def manual(setting: Setting, steps: int) -> tuple[Gan, list[float]]:
    """Lightning's manual optimization, with ddp_find_unused_parameters_true on several ranks."""
    module = Documented(setting, toggle=False)
    return module.gan, fit_documented(module, setting, steps)


def toggled(setting: Setting, steps: int) -> tuple[Gan, list[float]]:
    """As `manual`, without gradients for the parameters of the other optimizer."""
    module = Documented(setting, toggle=True)
    return module.gan, fit_documented(module, setting, steps)


class DiscriminatorLoss(nn.Module):
    """The discriminator's loss as a forward pass, which DDP needs."""

    def __init__(self, gan: Gan) -> None:
        super().__init__()
        self.discriminator = gan.discriminator
        self._loss = gan.discriminator_loss

    def forward(self, x: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss."""
        return self._loss(x, fake)


def bare(setting: Setting, steps: int) -> tuple[Gan, list[float]]:
    """By hand: both losses from one forward pass, gradients only where they are used, DDP per network."""
    gan = Gan(setting.width)
    generate: nn.Module = gan.generator
    discriminate: nn.Module = DiscriminatorLoss(gan)
    if RANKS > 1:
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo")
        generate, discriminate = DistributedDataParallel(generate), DistributedDataParallel(discriminate)
    d_opt, g_opt = (
        torch.optim.Adam(net.parameters(), lr=ADAM["lr"]) for net in (gan.discriminator, gan.generator)
    )
    d_parameters = list(gan.discriminator.parameters())
    n = setting.accumulate
    times = []
    for step, (_, data) in enumerate(setting.loader(steps)):
        times.append(CLOCK())
        update = (step + 1) % n == 0
        for module in (generate, discriminate):
            if isinstance(module, DistributedDataParallel):
                module.require_backward_grad_sync = update
        fake = generate(data["x"])
        d_loss = discriminate(data["x"], fake)
        for parameter in d_parameters:
            parameter.requires_grad_(False)
        g_loss = gan.generator_loss(fake)
        for parameter in d_parameters:
            parameter.requires_grad_(True)
        (d_loss / n).backward()
        (g_loss / n).backward()
        if update:
            for opt in (d_opt, g_opt):
                opt.step()
                opt.zero_grad()
    return gan, differences(times)


def check_weights(setting: Setting) -> None:
    """Check that the competitors train to the same weights, as far as their order of updates allows."""
    steps = 2 * setting.accumulate
    for ours, theirs in zip(
        named(setting, steps)[0].parameters(), bare(setting, steps)[0].parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    if setting.accumulate == 1:  # with accumulation, manual's generator loss leaks into the discriminator
        ours, theirs = named(setting, 1)[0], manual(setting, 1)[0]
        for a, b in zip(ours.discriminator.parameters(), theirs.discriminator.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
