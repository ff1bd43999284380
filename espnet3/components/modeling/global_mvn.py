"""Normalization by the mean and variance of all training data, from the statistics of stage 1."""

from pathlib import Path
from typing import Any

import torch

from espnet3.components.data.feature_stats import load_stats
from espnet3.errors import UserError


class GlobalMVN(torch.nn.Module):
    """`(x - mean) / std` per feature; frames beyond an utterance's length become zero.

    `mean` and `std` are buffers, so they are in checkpoints and move with the model; those of a checkpoint
    override the file. Stage 1 makes a model before its statistics exist: without the file the buffers are
    empty until `load_state_dict` or the first `forward` fills them, and `forward` raises if it can't.

    Args:
        stats_file: `<stats_dir>/train/<key>_stats.npz`.
        norm_means: subtract the mean.
        norm_vars: divide by the standard deviation.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, stats_file: str | Path, norm_means: bool = True, norm_vars: bool = True) -> None:
        super().__init__()
        self.stats_file = Path(stats_file)
        self.norm_means = norm_means
        self.norm_vars = norm_vars
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("std", torch.empty(0))
        if self.stats_file.is_file():
            self._read_file()

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Normalize features (B, T, D), or (B, T), with lengths (B,) in frames.

        Raises:
            UserError: no statistics, or of another number of features.
        """
        if self.mean.numel() == 0:
            self._read_file()  # collect_stats in this process may have made it since
        if x.shape[2:] != self.mean.shape:
            raise UserError(
                f"{self.stats_file} is for {self.mean.numel()} features, but x is {tuple(x.shape)}"
            )
        dtype = x.dtype
        if self.norm_means:
            x = x - self.mean  # in float32, also where x is in half precision
        if self.norm_vars:
            x = x / self.std
        x = x.to(dtype)
        if lengths is not None:
            beyond = torch.arange(x.shape[1], device=x.device) >= lengths.to(x.device)[:, None]
            x = x.masked_fill(beyond.view(*beyond.shape, *[1] * (x.ndim - 2)), 0.0)
        return x

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"stats_file={self.stats_file}, norm_means={self.norm_means}, norm_vars={self.norm_vars}"

    def _read_file(self) -> None:
        mean, std = load_stats(self.stats_file)
        device = self.mean.device
        self.mean = torch.as_tensor(mean, dtype=torch.float32, device=device)
        self.std = torch.as_tensor(std, dtype=torch.float32, device=device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the shape of the buffers from a checkpoint while they are empty."""
        for name in ("mean", "std"):
            saved = state_dict.get(prefix + name)
            if saved is not None and getattr(self, name).numel() == 0:
                setattr(self, name, torch.empty_like(saved, device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *args)
