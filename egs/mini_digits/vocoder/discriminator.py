"""Small discriminators of HiFi-GAN (https://arxiv.org/abs/2010.05646): is a wave real or generated speech?"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1

Maps = list[Tensor]
"""The output of each layer of a discriminator (B * p, C, T); the last are scores, high for real speech."""


class Discriminator(nn.Module):
    """One discriminator for each period, and one that sees neighbouring samples.

    Args:
        periods: in samples; such a discriminator sees every p-th sample only.
        channels: after each of its convolutions.
        level: root mean square of speech, which is brought to 1: quiet input would leave small maps, and
            nothing to learn from.
    """

    def __init__(
        self, periods: Sequence[int] = (2, 3, 5), channels: Sequence[int] = (8, 16, 32), level: float = 1.0
    ) -> None:
        super().__init__()
        self.level = level
        self.members = nn.ModuleList(
            [*(PeriodDiscriminator(period, channels) for period in periods), ScaleDiscriminator(channels)]
        )

    def forward(self, wave: Tensor) -> list[Maps]:
        """Waves (B, T) to the maps of each discriminator; their first axis keeps the order of the waves."""
        return [member(wave / self.level) for member in self.members]


class PeriodDiscriminator(nn.Module):
    """Convolves every p-th sample, from each of p starts."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        self.layers = nn.ModuleList(
            nn.Conv1d(inputs, outputs, 5, 3, padding=2)
            for inputs, outputs in zip((1, *channels), channels, strict=False)
        )
        self.score = nn.Conv1d(channels[-1], 1, 3, padding=1)

    def forward(self, wave: Tensor) -> Maps:
        """Waves (B, T) to maps (B * period, C, T')."""
        wave = functional.pad(wave, (0, -wave.shape[1] % self.period), mode="reflect")
        # The starts are waves of their own: half the time of a two-dimensional convolution on a CPU.
        folded = wave.view(len(wave), -1, self.period).transpose(1, 2)
        return _through(self.layers, self.score, folded.reshape(len(wave) * self.period, 1, -1))


class ScaleDiscriminator(nn.Module):
    """Convolves the wave as it is."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(inputs, outputs, 15, 4, padding=7, groups=min(4, inputs))
            for inputs, outputs in zip((1, *channels), channels, strict=False)
        )
        self.score = nn.Conv1d(channels[-1], 1, 3, padding=1)

    def forward(self, wave: Tensor) -> Maps:
        """Waves (B, T) to maps (B, C, T')."""
        return _through(self.layers, self.score, wave[:, None])


def _through(layers: nn.ModuleList, score: nn.Module, x: Tensor) -> Maps:
    maps = []
    for layer in layers:
        x = functional.leaky_relu(layer(x), SLOPE)
        maps.append(x)
    return [*maps, score(x)]
