"""Differentiable log-mel spectrograms: the generator's input, and the measure of its loss."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class LogMel(nn.Module):
    """Natural logarithm of the mel energies of a wave; frame t is centred on samples t * hop + hop / 2.

    Args:
        sample_rate: in Hz.
        window: in samples; a Hann window, of which each frame is the FFT.
        hop: samples from one frame to the next.
        num_mels: triangular filters, equally spaced in mel from 0 Hz to half the sample rate.
        floor: smaller mel energies count as this one, so that silence is no minus infinity.

    Raises:
        ValueError: a filter lies between two bins of the FFT and would be empty.
    """

    filters: Tensor
    taper: Tensor

    def __init__(
        self, sample_rate: int, window: int = 256, hop: int = 64, num_mels: int = 40, floor: float = 1e-4
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.window, self.hop, self.num_mels, self.floor = window, hop, num_mels, floor
        # They follow from the configuration, so they are not in checkpoints.
        self.register_buffer("filters", mel_filters(sample_rate, window, num_mels), persistent=False)
        self.register_buffer("taper", torch.hann_window(window), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """Waves (B, T) of values between -1 and 1 to log-mel features (B, T // hop, num_mels), float32."""
        margin = self.window - self.hop
        wave = functional.pad(wave.float(), (margin // 2, margin - margin // 2), mode="reflect")
        with torch.autocast(wave.device.type, enabled=False):  # half precision is too coarse for energies
            spectrum = torch.stft(
                wave, self.window, self.hop, window=self.taper, center=False, return_complex=True
            )
            # The root's slope at zero is infinite: a little is added below it.
            magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-10).sqrt()
            return (magnitude.transpose(1, 2) @ self.filters).clamp(min=self.floor).log()


def mel_filters(sample_rate: int, window: int, num_mels: int) -> Tensor:
    """Triangular filters (window // 2 + 1, num_mels) with a peak of 1, on HTK's mel scale.

    Raises:
        ValueError: a filter is empty.
    """
    bins = torch.linspace(0, sample_rate / 2, window // 2 + 1, dtype=torch.float64)
    corners = torch.linspace(0, _mel(sample_rate / 2), num_mels + 2, dtype=torch.float64)
    hertz = 700 * (torch.exp(corners / 1127) - 1)
    rising = (bins[:, None] - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - bins[:, None]) / (hertz[2:] - hertz[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    if (filters.sum(dim=0) == 0).any():
        raise ValueError(f"{num_mels} mel filters are too many for a window of {window} samples")
    return filters.float()


def _mel(hertz: float) -> float:
    return 1127 * math.log(1 + hertz / 700)
