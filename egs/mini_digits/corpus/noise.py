"""Noise made by shaping white noise, and mixing it in at a signal-to-noise ratio."""

from collections.abc import Callable

import numpy as np

KINDS = ("white", "pink", "babble")


def make_noise(kind: str, count: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Noise (count,) of unit power, float64.

    Args:
        kind: `white`: the same power at every frequency; `pink`: power falls as 1/f; `babble`: the
            spectrum of speech, and loudness that comes and goes as in syllables.
        count: in samples.
        sample_rate: in Hz.
        rng: where all of it is drawn from.

    Raises:
        ValueError: for another kind.
    """
    if kind == "white":
        noise = rng.standard_normal(count)
    elif kind == "pink":
        noise = _shaped(count, sample_rate, rng, lambda hertz: 1 / np.sqrt(hertz))
    elif kind == "babble":
        # A few talkers: each with speech's long-term spectrum (flat to 500 Hz, then -9 dB per octave) and
        # a loudness of its own that moves at 2 to 6 Hz.
        noise = sum(
            _shaped(count, sample_rate, rng, lambda hertz: (1 + (hertz / 500) ** 2) ** -0.75)
            * _syllables(count, sample_rate, rng)
            for _ in range(4)
        )
    else:
        raise ValueError(f"no noise of kind {kind!r}; known are {', '.join(KINDS)}")
    return noise / np.sqrt(np.mean(noise**2))


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """`speech` (T,) plus `noise` (T,) scaled so that speech has `snr_db` more power over the whole signal."""
    ratio = np.mean(speech**2) / np.mean(noise**2)
    return speech + noise * np.sqrt(ratio / 10 ** (snr_db / 10))


def _shaped(
    count: int, sample_rate: int, rng: np.random.Generator, gain: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """White noise whose spectrum is multiplied by `gain(hertz)`; nothing below 50 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / sample_rate)
    spectrum *= np.where(hertz < 50, 0.0, gain(np.maximum(hertz, 50.0)))
    return np.fft.irfft(spectrum, count)


def _syllables(count: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A loudness (count,) between 0 and 1 that swings at a random rate of 2 to 6 Hz."""
    turns = rng.uniform(2, 6) * np.arange(count) / sample_rate + rng.uniform()
    return 0.5 * (1 + np.sin(2 * np.pi * turns))
