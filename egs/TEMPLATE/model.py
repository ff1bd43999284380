"""The model: what `forward` and `collect_feats` must give, on the smallest example."""

import torch
from torch import Tensor, nn

from espnet3.components.modeling.global_mvn import GlobalMVN
from espnet3.components.modeling.metrics.ratio import Ratio

WINDOW, HOP = 256, 128  # samples


class PitchModel(nn.Module):
    """Log power spectrum, global normalization, one convolution, mean over time, four classes.

    Args:
        channels: width of the convolution.
        stats_file: what stage 1 collected of `feats`.
    """

    def __init__(self, channels: int, stats_file: str) -> None:
        super().__init__()
        self.normalize = GlobalMVN(stats_file)
        self.convolution = nn.Conv1d(WINDOW // 2 + 1, channels, kernel_size=3, padding=1)
        self.classify = nn.Linear(channels, 4)

    def forward(
        self, speech: Tensor, speech_lengths: Tensor, label: Tensor
    ) -> tuple[Tensor, dict[str, Tensor | Ratio], Tensor]:
        """Loss, statistics and weight of a batch: speech (B, T), speech_lengths (B,), label (B,)."""
        logits = self.logits(speech, speech_lengths)
        loss = nn.functional.cross_entropy(logits, label)
        accuracy = Ratio((logits.argmax(-1) == label).sum(), len(label))
        weight = torch.tensor(len(label), device=loss.device)
        return loss, {"loss": loss.detach(), "accuracy": accuracy}, weight

    def collect_feats(self, speech: Tensor, speech_lengths: Tensor, **_: Tensor) -> dict[str, Tensor]:
        """Features before normalization, for stage 1: feats (B, frames, 129), feats_lengths (B,)."""
        frames = speech.unfold(1, WINDOW, HOP) * torch.hann_window(WINDOW, device=speech.device)
        feats = torch.fft.rfft(frames).abs().square().add(1e-6).log()
        return {"feats": feats, "feats_lengths": (speech_lengths - WINDOW) // HOP + 1}

    def logits(self, speech: Tensor, speech_lengths: Tensor) -> Tensor:
        """Scores of the four pitches (B, 4)."""
        collected = self.collect_feats(speech, speech_lengths)
        lengths = collected["feats_lengths"]
        feats = self.normalize(collected["feats"], lengths)
        hidden = self.convolution(feats.transpose(1, 2)).relu()
        inside = torch.arange(hidden.shape[2], device=lengths.device) < lengths[:, None]
        mean = (hidden * inside[:, None]).sum(2) / lengths[:, None]
        scores: Tensor = self.classify(mean)
        return scores
