"""The vocoder: a generator and discriminators, and the losses of both from one forward pass."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from discriminator import Maps
from espnet3.components.modeling.optimization_spec import OptimizationStep
from mel import LogMel


class Vocoder(nn.Module):
    """Learns to generate speech from its log-mel features.

    Args:
        mel: waves (B, T) to log-mel features (B, frames, num_mels).
        normalize: called with log-mel features; gives normalized ones.
        generator: normalized features (B, frames, num_mels) to waves (B, frames * hop).
        discriminator: waves to a list of maps for each of its members.
        mel_weight: of the mel L1 in the generator's loss.
        feature_weight: of feature matching in the generator's loss.
    """

    def __init__(
        self,
        mel: LogMel,
        normalize: nn.Module,
        generator: nn.Module,
        discriminator: nn.Module,
        mel_weight: float = 45.0,
        feature_weight: float = 2.0,
    ) -> None:
        super().__init__()
        self.mel = mel
        self.normalize = normalize
        self.generator = generator
        self.discriminator = discriminator
        self.mel_weight = mel_weight
        self.feature_weight = feature_weight

    def forward(
        self, speech: Tensor, speech_lengths: Tensor | None = None
    ) -> tuple[list[OptimizationStep], dict[str, Tensor], Tensor]:
        """Give the losses of a batch of segments.

        One pass of the discriminator serves both losses, and nothing is detached: a step's backward pass
        reaches the parameters of its own optimizer only.

        In evaluation they are the means over the utterances, each of which is run by itself as in stage 3:
        padding is no speech, and convolutions would hear it.

        Args:
            speech: (B, T); in training segments of one length.
            speech_lengths: (B,), used in evaluation.

        Returns:
            The discriminator's step, then the generator's; statistics, mel L1 in nats; weight, B.
        """
        parts = [speech]
        if not self.training and speech_lengths is not None:
            parts = [row[None, :length] for row, length in zip(speech, speech_lengths.tolist(), strict=True)]
        losses = [self.losses(part) for part in parts]
        mean = {key: torch.stack([loss[key] for loss in losses]).mean() for key in losses[0]}
        steps = [OptimizationStep(mean.pop(name), name) for name in ("discriminator", "generator")]
        return steps, {key: value.detach() for key, value in mean.items()}, speech.new_tensor(len(speech))

    def losses(self, speech: Tensor) -> dict[str, Tensor]:
        """The losses of both networks, by their names, and the terms of the generator's: speech (B, T)."""
        real = self.whole_frames(speech)
        mel = self.mel(real)
        generated = self.generator(self.normalize(mel))
        mel_l1 = functional.l1_loss(self.mel(generated), mel)
        pairs = [
            [layer.chunk(2) for layer in maps] for maps in self.discriminator(torch.cat([real, generated]))
        ]
        of_real, of_generated = ([[pair[which] for pair in maps] for maps in pairs] for which in (0, 1))
        adversarial = adversarial_loss(of_generated)
        features = feature_loss(of_real, of_generated)
        return {
            "discriminator": discriminator_loss(of_real, of_generated),
            "generator": adversarial + self.feature_weight * features + self.mel_weight * mel_l1,
            "mel_l1": mel_l1,
            "adversarial": adversarial,
            "feature_matching": features,
        }

    def collect_feats(self, speech: Tensor, speech_lengths: Tensor, **_: Any) -> dict[str, Tensor]:
        """The features to collect statistics of, log-mel (B, frames, num_mels), and lengths (B,)."""
        return {"feats": self.mel(speech), "feats_lengths": speech_lengths // self.mel.hop}

    @torch.no_grad()
    def resynthesize(self, speech: Tensor) -> Tensor:
        """Waves (B, T) to their log-mel features and back: (B, T // hop * hop)."""
        return self.generator(self.normalize(self.mel(self.whole_frames(speech))))

    def whole_frames(self, speech: Tensor) -> Tensor:
        """Waves (B, T) without the samples that fill no mel frame: (B, T // hop * hop)."""
        return speech[:, : speech.shape[1] // self.mel.hop * self.mel.hop]


def discriminator_loss(of_real: list[Maps], of_generated: list[Maps]) -> Tensor:
    """Least squares (https://arxiv.org/abs/1611.04076): scores of real speech to 1, of generated to 0.

    Returns:
        A scalar, the mean over the discriminators; 0 is perfect, 0.5 is no better than a constant guess.
    """
    losses = [
        ((1 - real[-1].float()) ** 2).mean() + (generated[-1].float() ** 2).mean()
        for real, generated in zip(of_real, of_generated, strict=True)
    ]
    return torch.stack(losses).mean()


def adversarial_loss(of_generated: list[Maps]) -> Tensor:
    """Least squares: scores of generated speech to 1; a scalar, the mean over the discriminators."""
    return torch.stack([((1 - maps[-1].float()) ** 2).mean() for maps in of_generated]).mean()


def feature_loss(of_real: list[Maps], of_generated: list[Maps]) -> Tensor:
    """Mean distance of the layers' outputs, without the scores; real speech is the target, detached."""
    losses = [
        functional.l1_loss(generated.float(), real.detach().float())
        for members in zip(of_real, of_generated, strict=True)
        for real, generated in zip(*(maps[:-1] for maps in members), strict=True)
    ]
    return torch.stack(losses).mean()
