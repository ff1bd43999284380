"""Speak a line by espeak-ng: the same samples for the same arguments, whatever was spoken before.

The library and its data come in the wheel `espeakng-loader` and are called through ctypes.
"""

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_OUTPUT_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: the samples come to a callback, on this thread
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_CHARACTERS, _UTF8 = 1, 1  # espeak_POSITION_TYPE and the flags of espeak_Synth

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class SpeechError(RuntimeError):
    """espeak-ng could not speak: the message names voice and text."""


def speak(text: str, voice: str, *, speed: int, pitch: int, seed: int) -> tuple[np.ndarray, int]:
    """Speak `text`.

    Each call speaks in a forked child. espeak-ng keeps what it has spoken in static variables (phases,
    the echo, the breath's random numbers), so that in one process, even after `espeak_Terminate`, the
    samples depend on the calls before.

    Args:
        text: what to say; "three one four".
        voice: accent and variant; "en-us+f3".
        speed: in words per minute, 80 to 450.
        pitch: 0 to 99; 50 is the voice's own.
        seed: of the random numbers that make the voice breathe; not negative.

    Returns:
        int16 samples (T,) and their rate in Hz.

    Raises:
        SpeechError: the voice does not exist, or nothing was spoken.
    """
    library, rate, data = _library()
    variant = voice.partition("+")[2]
    if variant and not (data / "voices" / "!v" / variant).is_file():
        raise SpeechError(f"espeak-ng has no voice {voice!r}")  # it would take the accent's own voice
    samples = _in_child(lambda: _speak_here(library, text, voice, speed, pitch, seed))
    if not samples:
        raise SpeechError(f"espeak-ng has no voice {voice!r}, or nothing to say for {text!r}")
    return np.frombuffer(samples, dtype=np.int16), rate


@cache
def _library() -> tuple[Any, int, Path]:
    """The library, initialized once in this process, its sample rate and data; it starts no thread."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    data = Path(espeakng_loader.get_data_path())
    rate = library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data), 0)
    if rate <= 0:
        raise SpeechError(f"espeak-ng does not start with its data in {data}")
    return library, rate, data


def _speak_here(library: Any, text: str, voice: str, speed: int, pitch: int, seed: int) -> bytes:
    """The samples as bytes, empty when the voice is unknown; leaves the library in another state."""
    chunks: list[bytes] = []

    @_CALLBACK
    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, count * 2))
        return 0

    library.espeak_SetSynthCallback(collect)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        return b""
    library.espeak_ng_SetRandSeed(seed % 2**31)
    library.espeak_SetParameter(_RATE, speed, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    line = text.encode()
    library.espeak_Synth(line, len(line) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    return b"".join(chunks)


def _in_child(function: Callable[[], bytes]) -> bytes:
    """What `function` returns in a forked child of this process; empty when the child fails."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # Nothing of the parent may run here: neither its exception handlers nor its exit handlers.
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(function())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        result = pipe.read()
    os.waitpid(child, 0)
    return result
