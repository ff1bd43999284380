"""A small CTC model: log-mel features through dilated convolutions to digits."""

from typing import Any

import jiwer
import torch
from torch import Tensor, nn
from torch.nn import functional

from espnet3.components.modeling.metrics.ratio import Ratio
from features import BLANK, to_text


class CtcModel(nn.Module):
    """Two convolutions that keep every 4th frame, residual dilated ones, and a linear layer to tokens.

    No frame sees padding beyond its utterance's end: an utterance gives the same output in any batch.

    Args:
        num_mels: features a frame.
        num_tokens: outputs, the blank included.
        normalize: called with features (B, T, num_mels) and lengths (B,); gives normalized features.
        channels: width of the convolutions.
        dilations: one residual block each, in output frames (40 ms).
        dropout: after each block.
        augment: changes normalized features (B, T, num_mels) of lengths (B,) in training.
    """

    def __init__(
        self,
        num_mels: int,
        num_tokens: int,
        normalize: nn.Module,
        channels: int = 128,
        dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4),
        dropout: float = 0.1,
        augment: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.augment = augment
        self.front = nn.ModuleList(
            nn.Conv1d(inputs, channels, kernel_size=5, stride=2, padding=2) for inputs in (num_mels, channels)
        )
        self.blocks = nn.ModuleList(ResidualBlock(channels, dilation, dropout) for dilation in dilations)
        self.norm = nn.LayerNorm(channels)
        self.output = nn.Linear(channels, num_tokens)

    def forward(
        self, feats: Tensor, feats_lengths: Tensor, text: Tensor, text_lengths: Tensor
    ) -> tuple[Tensor, dict[str, Tensor | Ratio], Tensor]:
        """Give the loss of a batch.

        Args:
            feats: (B, T, num_mels), padded.
            feats_lengths: (B,), in frames.
            text: tokens (B, U), padded.
            text_lengths: (B,).

        Returns:
            Loss, the mean over utterances of the negative log-likelihood in nats; statistics; weight, B.
        """
        log_probs, lengths = self.log_probs(feats, feats_lengths)
        losses = functional.ctc_loss(
            log_probs.transpose(0, 1),  # (T, B, tokens)
            text,
            lengths,
            text_lengths,
            blank=BLANK,
            reduction="none",
            zero_infinity=True,  # an utterance too short for its text has no gradient
        )
        loss = losses.mean()
        stats: dict[str, Tensor | Ratio] = {"loss": loss.detach()}
        if not self.training:
            stats["token_error_rate"] = error_rate(greedy(log_probs, lengths), text, text_lengths)
        return loss, stats, torch.tensor(len(feats), device=loss.device)

    def collect_feats(self, feats: Tensor, feats_lengths: Tensor, **_: Any) -> dict[str, Tensor]:
        """The features to collect statistics of, (B, T, num_mels), and lengths (B,)."""
        return {"feats": feats, "feats_lengths": feats_lengths}

    def log_probs(self, feats: Tensor, feats_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, T', num_tokens) of each token, and lengths (B,); T' is T / 4, rounded up."""
        x = self.normalize(feats, feats_lengths)
        if self.training and self.augment is not None:
            x = self.augment(x, feats_lengths)
        x, lengths = x.transpose(1, 2), feats_lengths
        for convolution in self.front:
            lengths = (lengths + 1) // 2
            x = functional.relu(convolution(x))
            valid = inside(lengths, x.shape[2])
            x = x * valid
        for block in self.blocks:
            x = block(x, valid)
        return self.output(self.norm(x.transpose(1, 2))).log_softmax(dim=-1), lengths

    @torch.no_grad()
    def decode(self, feats: Tensor, feats_lengths: Tensor, **_: Any) -> list[list[int]]:
        """Tokens of each utterance by greedy decoding."""
        return greedy(*self.log_probs(feats, feats_lengths))


class ResidualBlock(nn.Module):
    """x + dropout(relu(convolution(norm(x))))."""

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.convolution = nn.Conv1d(channels, channels, kernel_size=3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Features (B, C, T) to features (B, C, T); `valid` (B, 1, T) is 0 beyond an utterance's end."""
        y = self.norm(x.transpose(1, 2)).transpose(1, 2) * valid
        return x + self.dropout(functional.relu(self.convolution(y)))


def greedy(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """The best token of each frame of (B, T, tokens), repetitions joined, blanks left out."""
    best = log_probs.argmax(dim=-1).cpu()
    paths = [path[:length].unique_consecutive() for path, length in zip(best, lengths.tolist(), strict=True)]
    return [path[path != BLANK].tolist() for path in paths]


def error_rate(decoded: list[list[int]], text: Tensor, text_lengths: Tensor) -> Ratio:
    """Edits over tokens of the references `text` (B, U) with lengths (B,)."""
    references = [row[:length] for row, length in zip(text.tolist(), text_lengths.tolist(), strict=True)]
    output = jiwer.process_words([to_text(row) for row in references], [to_text(row) for row in decoded])
    edits = output.substitutions + output.deletions + output.insertions
    return Ratio(edits, sum(map(len, references)))


def inside(lengths: Tensor, frames: int) -> Tensor:
    """Ones (B, 1, frames) up to each length (B,), then zeros."""
    return (torch.arange(frames, device=lengths.device) < lengths[:, None])[:, None].float()
