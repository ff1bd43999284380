"""The generator, a small HiFi-GAN that ends in an inverse Fourier transform: mel frames to a wave."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1
LOUDEST = 5.0
"""Greatest log-magnitude of a bin: far above speech, and without overflow in the first updates."""


class Generator(nn.Module):
    """HiFi-GAN (https://arxiv.org/abs/2010.05646) whose last, costliest stages an inverse STFT replaces.

    The last convolution gives magnitudes and phases of a short-time Fourier transform at a higher frame
    rate than the mel's; see iSTFTNet, https://arxiv.org/abs/2203.02395. On a CPU that is three times as
    quick as transposed convolutions up to the sample rate.

    Args:
        num_mels: features a frame.
        hop: samples from one mel frame to the next.
        channels: after the first convolution; each stage halves them.
        rates: of the stages, each a transposed convolution and residual blocks side by side; the inverse
            STFT makes up what is missing to the hop.
        kernels: of the residual blocks that a stage averages.
        dilations: of the convolutions of each such block.

    Raises:
        ValueError: the rates are odd, or no divisor of the hop.
    """

    taper: Tensor

    def __init__(
        self,
        num_mels: int,
        hop: int,
        channels: int = 128,
        rates: Sequence[int] = (8,),
        kernels: Sequence[int] = (3, 7),
        dilations: Sequence[int] = (1, 3),
    ) -> None:
        super().__init__()
        if hop % math.prod(rates) or any(rate % 2 for rate in rates):
            raise ValueError(f"rates must be even and divide the hop {hop}, given: {list(rates)}")
        self.hop = hop // math.prod(rates)
        self.window = 4 * self.hop
        self.first = nn.Conv1d(num_mels, channels, 7, padding=3)
        self.upsample = nn.ModuleList()
        self.blocks = nn.ModuleList()
        for rate in rates:
            self.upsample.append(
                nn.ConvTranspose1d(channels, channels // 2, 2 * rate, rate, padding=rate // 2)
            )
            channels //= 2
            self.blocks.append(nn.ModuleList(ResidualBlock(channels, k, dilations) for k in kernels))
        self.last = nn.Conv1d(channels, self.window + 2, 7, padding=3)
        self.register_buffer("taper", torch.hann_window(self.window), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        """Normalized log-mel features (B, T, num_mels) to waves (B, T * hop), float32."""
        x = self.first(mel.transpose(1, 2))
        for upsample, blocks in zip(self.upsample, self.blocks, strict=True):
            x = upsample(functional.leaky_relu(x, SLOPE))
            x = torch.stack([block(x) for block in blocks]).mean(dim=0)
        x = self.last(functional.leaky_relu(x, SLOPE)).float()
        samples = x.shape[2] * self.hop
        x = functional.pad(x, (0, 1), mode="replicate")  # the transform of n hops has n + 1 frames
        magnitude, phase = x.chunk(2, dim=1)
        spectrum = torch.polar(magnitude.clamp(max=LOUDEST).exp(), math.pi * torch.sin(phase))
        return torch.istft(spectrum, self.window, self.hop, window=self.taper, length=samples)


class ResidualBlock(nn.Module):
    """x + convolution(leaky_relu(x)), once for each dilation."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2 * dilation, dilation=dilation)
            for dilation in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        for convolution in self.convolutions:
            x = x + convolution(functional.leaky_relu(x, SLOPE))
        return x
