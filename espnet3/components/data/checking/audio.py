"""What is known of an audio file: from its header, and from all of its samples."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from espnet3.errors import no_file

BLOCK = 1 << 20
"""Samples that are decoded at a time."""
_SHORT = re.compile(r"^(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""How libsndfile, which reads such a file without an error, logs that its header promises more bytes."""
_UNKNOWN_SIZE = 0x7FFFF000
"""Programs that write WAV into a pipe give a size as large as this, or larger."""


@dataclass(frozen=True)
class AudioFacts:
    """An audio file."""

    problem: str = ""
    """Why no recipe can use it, by its header, without its name: "is truncated: …"; empty if it can."""
    sample_problem: str = ""
    """The same by its samples, as far as they were decoded."""
    sample_rate: int = 0
    """In Hz."""
    samples: int = 0
    """Of one channel."""
    decoded: bool = False
    """Whether all samples were looked at, not the header alone."""


def examine(path: Path, *, decode: bool) -> AudioFacts:
    """Read a file's header and, with `decode`, all its samples; never raises for what is wrong with it."""
    try:
        if problem := no_file(path):
            return AudioFacts(problem, decoded=decode)
        if path.stat().st_size == 0:
            return AudioFacts("is an empty file (0 bytes)", decoded=decode)
        with soundfile.SoundFile(path) as file:
            problem = _header_problem(file)
            samples = _sample_problem(file) if decode and not problem else ""
            return AudioFacts(problem, samples, file.samplerate, file.frames, decode)
    except FileNotFoundError:
        return AudioFacts("does not exist", decoded=decode)
    except OSError as error:
        return AudioFacts(f"cannot be read: {error.strerror}", decoded=decode)
    except soundfile.LibsndfileError as error:
        reason = str(error).rpartition(": ")[2].strip() or f"libsndfile's error {error.code}"
        return AudioFacts(f"cannot be decoded as audio: {reason}", decoded=decode)


def _header_problem(file: soundfile.SoundFile) -> str:
    short = _SHORT.search(file.extra_info)
    if short and int(short[1]) < _UNKNOWN_SIZE:
        return f"is truncated: its header says {int(short[1]):,} bytes of samples, it has {int(short[2]):,}"
    return "" if file.frames else "has no samples"


def _sample_problem(file: soundfile.SoundFile) -> str:
    count, least, greatest = 0, np.inf, -np.inf
    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            return f"has NaN or Inf, first in sample {count + int(finite.argmin()):,}"
        count += len(block)
        least, greatest = min(least, float(block.min())), max(greatest, float(block.max()))
    if count < file.frames:
        return f"is truncated: its header says {file.frames:,} samples, {count:,} can be decoded"
    return f"is silent: every sample is {least:g}" if least == greatest else ""
