"""The data of this recipe: speech of the corpus with little noise, at 8 kHz, in random segments."""

from pathlib import Path
from typing import Any

import numpy as np
import soxr

from espnet3.components.data.manifest import ManifestDataset
from espnet3.errors import UserError


class SpeechDataset(ManifestDataset):
    """Samples `{"uid", "speech": float32 (T,)}` of the utterances of a manifest with little noise.

    The speech is resampled once and then kept in memory (32 kB for a second).

    Args:
        path: the manifest.
        sample_rate: of the audio, in Hz; audio of another rate is refused.
        to: the sample rate of the items, in Hz.
        min_snr_db: utterances with more noise than this are left out.

    Raises:
        UserError: no utterance is left.
    """

    def __init__(self, path: str | Path, sample_rate: int, to: int, min_snr_db: float) -> None:
        super().__init__(path, sample_rate)
        self.to = to
        entries = self._entries
        self._entries = [entry for entry in entries if entry["snr_db"] >= min_snr_db]
        if not self._entries:
            raise UserError(f"none of {len(entries)} utterances in {path} has {min_snr_db} dB (min_snr_db)")
        self._speech: dict[int, np.ndarray] = {}

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read and resample one utterance, or take it from memory."""
        if index not in self._speech:
            speech = super().__getitem__(index)["speech"]
            self._speech[index] = soxr.resample(speech, self.sample_rate, self.to)
        return {"uid": self._entries[index]["uid"], "speech": self._speech[index]}


class RandomSegment:
    """Cuts a segment out of the speech, a different one in each epoch; a transform.

    Args:
        samples: its length; a shorter utterance is filled up with silence.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __call__(self, sample: dict[str, Any], *, rng: np.random.Generator) -> dict[str, Any]:
        """`speech` (T,) becomes (samples,); `rng` is seeded by (seed, epoch, uid)."""
        speech = sample["speech"]
        start = int(rng.integers(max(0, len(speech) - self.samples) + 1))
        segment = speech[start : start + self.samples]
        return {**sample, "speech": np.pad(segment, (0, self.samples - len(segment)))}
