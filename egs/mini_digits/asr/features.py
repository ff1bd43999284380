"""The data of this recipe: log-mel features and digits of the utterances of a manifest."""

from pathlib import Path
from typing import Any

import kaldi_native_fbank as knf
import numpy as np

from espnet3.components.data.manifest import ManifestDataset

BLANK = 0
"""CTC's blank; digit d is token d + 1."""
NUM_TOKENS = 11


def to_tokens(text: str) -> list[int]:
    """Tokens of digits separated by blanks: "3 1 4" is [4, 2, 5]."""
    return [int(digit) + 1 for digit in text.split()]


def to_text(tokens: list[int]) -> str:
    """The digits of tokens, separated by blanks: the inverse of `to_tokens`."""
    return " ".join(str(token - 1) for token in tokens)


def log_mel(speech: np.ndarray, sample_rate: int, num_mels: int) -> np.ndarray:
    """Log-mel energies (T, num_mels), float32, of samples between -1 and 1: 25 ms windows every 10 ms."""
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = sample_rate
    options.frame_opts.dither = 0.0  # the same features every time
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = num_mels
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(sample_rate, speech * 2**15)  # Kaldi's scale, that of 16-bit integers
    fbank.input_finished()
    return np.stack([fbank.get_frame(frame) for frame in range(fbank.num_frames_ready)])


class DigitDataset(ManifestDataset):
    """Samples `{"uid", "feats": float32 (T, num_mels), "text": list of U tokens}` of a manifest.

    Features are kept in memory once they are computed (20 kB for a second), so that they are computed in
    the first epoch only.

    Args:
        path: the manifest.
        sample_rate: in Hz; audio of another rate is refused.
        num_mels: features a frame.
    """

    def __init__(self, path: str | Path, sample_rate: int, num_mels: int) -> None:
        super().__init__(path, sample_rate)
        self.rate = sample_rate
        self.num_mels = num_mels
        self._samples: dict[int, dict[str, Any]] = {}

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read one utterance, or take it from memory."""
        if index not in self._samples:
            sample = super().__getitem__(index)
            self._samples[index] = {
                "uid": sample["uid"],
                "feats": log_mel(sample["speech"], self.rate, self.num_mels),
                "text": to_tokens(sample["text"]),
            }
        return self._samples[index]
