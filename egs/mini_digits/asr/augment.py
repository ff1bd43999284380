"""Data augmentation of normalized features for training: warped mel axis, and SpecAugment's masks."""

import torch
from torch import Tensor, nn


class Augment(nn.Module):
    """Warps the mel axis, and hides bands of features and stretches of time.

    It draws from torch's global generator, whose state a checkpoint keeps.

    Args:
        warp: the mel axis of each utterance is stretched by a factor between exp(-warp) and exp(warp),
            about as a longer or shorter vocal tract does (VTLP, Jaitly and Hinton, 2013).
        mel_masks: bands hidden in each utterance (SpecAugment, https://arxiv.org/abs/1904.08779).
        mel_width: the greatest width of such a band, in features.
        time_masks: stretches of time hidden in each utterance.
        time_width: the longest such stretch, in frames.
    """

    def __init__(self, warp: float, mel_masks: int, mel_width: int, time_masks: int, time_width: int) -> None:
        super().__init__()
        self.warp = warp
        self.mel_masks, self.mel_width = mel_masks, mel_width
        self.time_masks, self.time_width = time_masks, time_width

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Normalized features (B, T, D), zero being their mean, of lengths (B,); gives (B, T, D)."""
        if self.warp > 0:
            x = warped(x, torch.exp((2 * torch.rand(len(x), device=x.device) - 1) * self.warp))
        batch, frames, mels = x.shape
        sizes = torch.full((batch,), mels, device=x.device)
        for _ in range(self.mel_masks):
            x = x.masked_fill(_band(sizes, mels, self.mel_width)[:, None, :], 0.0)
        for _ in range(self.time_masks):
            x = x.masked_fill(_band(lengths, frames, self.time_width)[:, :, None], 0.0)
        return x


def warped(x: Tensor, factors: Tensor) -> Tensor:
    """Feature d of (B, T, D) becomes that at d * factor (B,), linearly interpolated."""
    last = x.shape[2] - 1
    position = (torch.arange(last + 1, device=x.device) * factors[:, None]).clamp(max=last)
    below = position.floor().long().clamp(max=last - 1)
    share = (position - below)[:, None, :]
    index = below[:, None, :].expand_as(x)
    low, high = x.gather(2, index), x.gather(2, index + 1)
    return low + (high - low) * share


def _band(sizes: Tensor, total: int, greatest: int) -> Tensor:
    """True (B, total) in a random band of up to `greatest` positions that starts below each size (B,)."""
    width = torch.randint(0, greatest + 1, sizes.shape, device=sizes.device)
    start = (torch.rand(sizes.shape, device=sizes.device) * (sizes - width).clamp(min=1)).long()
    position = torch.arange(total, device=sizes.device)
    return (position >= start[:, None]) & (position < (start + width)[:, None])
