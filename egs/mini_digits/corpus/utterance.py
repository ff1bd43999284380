"""One utterance: what decides it (pure, drawn from seed, split and number), and its samples."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import soxr

from corpus.noise import KINDS, make_noise, mix
from corpus.speech import speak
from corpus.voices import SPEAKERS, voices

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LEVEL = 0.06
"""Root mean square of an utterance's speech, of full scale 1."""
PEAK = 0.98
"""No sample is above it."""


@dataclass(frozen=True)
class Settings:
    """What decides the samples of every utterance; ranges include both ends."""

    seed: int
    sample_rate: int
    """In Hz."""
    digits: tuple[int, int]
    """How many digits an utterance has."""
    speed: tuple[int, int]
    """In words per minute."""
    pitch: tuple[int, int]
    """0 to 99; 50 is the voice's own."""
    snr_db: tuple[float, float]
    """Power of speech over power of noise, in dB."""


@dataclass(frozen=True)
class Utterance:
    """What is said, by whom and in which noise."""

    uid: str
    text: str
    """Digits between blanks: "3 1 4"."""
    voice: str
    speed: int
    pitch: int
    noise: str
    snr_db: float
    seed: int
    """Of the voice's breath and of the noise."""

    def entry(self) -> dict[str, Any]:
        """Its part of the manifest."""
        return {key: value for key, value in asdict(self).items() if key != "seed"}


def plan(settings: Settings, split: str, number: int) -> Utterance:
    """The `number`-th utterance of `split`, the same whatever the number of utterances."""
    rng = np.random.default_rng([settings.seed, list(SPEAKERS).index(split), number])
    choices = voices(split)
    return Utterance(
        uid=f"{split}-{number:05d}",
        text=" ".join(str(digit) for digit in rng.integers(10, size=rng.integers(*_ends(settings.digits)))),
        voice=choices[rng.integers(len(choices))],
        speed=int(rng.integers(*_ends(settings.speed))),
        pitch=int(rng.integers(*_ends(settings.pitch))),
        noise=KINDS[rng.integers(len(KINDS))],
        snr_db=round(float(rng.uniform(*settings.snr_db)), 2),
        seed=int(rng.integers(2**31)),
    )


def say(utterance: Utterance, sample_rate: int) -> np.ndarray:
    """Its speech without noise: float64 (T,), at `sample_rate` Hz and at the level LEVEL."""
    words = " ".join(WORDS[int(digit)] for digit in utterance.text.split())
    samples, rate = speak(
        words, utterance.voice, speed=utterance.speed, pitch=utterance.pitch, seed=utterance.seed
    )
    speech = soxr.resample(samples / 2**15, rate, sample_rate)
    return speech * (LEVEL / np.sqrt(np.mean(speech**2)))


def render(utterance: Utterance, sample_rate: int) -> np.ndarray:
    """Its speech in noise: int16 (T,), at `sample_rate` Hz."""
    speech = say(utterance, sample_rate)
    rng = np.random.default_rng(utterance.seed)
    mixed = mix(speech, make_noise(utterance.noise, len(speech), sample_rate, rng), utterance.snr_db)
    mixed *= min(1.0, PEAK / np.abs(mixed).max())
    return np.round(mixed * (2**15 - 1)).astype(np.int16)


def _ends(inclusive: tuple[int, int]) -> tuple[int, int]:
    return inclusive[0], inclusive[1] + 1
