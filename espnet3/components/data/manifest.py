"""Audio listed in a JSON-lines manifest, read on access.

Each line is one utterance: `{"uid": "fmt-001", "audio": "wav/fmt-001.wav", "text": "one two"}`. `audio` is
relative to the manifest's folder; every other key is passed through.
"""

import json
from pathlib import Path
from typing import Any

import soundfile

from espnet3.errors import UserError


class ManifestDataset:
    """Samples `{"uid": str, "speech": float32 (T,), ...the line's other keys}`.

    Several channels are averaged. Only the manifest is read at the start, audio when it is indexed.

    Args:
        path: the manifest.
        sample_rate: in Hz; audio of another rate is refused. None takes any.

    Raises:
        UserError: for a manifest that is missing or broken (`file:line`); from `[]`, for audio that is
            missing, unreadable or of another rate.
    """

    def __init__(self, path: str | Path, sample_rate: int | None = None) -> None:
        self.path = Path(path)
        self.sample_rate = sample_rate
        self._entries = read_manifest(self.path)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        entry = dict(self._entries[index])
        audio = self.path.parent / entry.pop("audio")
        return {**entry, "speech": self._load(audio)}

    def uids(self) -> list[str]:
        """The uid of each sample."""
        return [entry["uid"] for entry in self._entries]

    def files(self) -> list[Path]:
        """The manifest and the audio files it names."""
        return [self.path, *(self.path.parent / entry["audio"] for entry in self._entries)]

    def _load(self, audio: Path) -> Any:
        if not audio.is_file():
            raise UserError(f"{audio} does not exist, but {self.path} lists it (stage 0 makes both)")
        try:
            speech, rate = soundfile.read(audio, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise UserError(f"{audio} cannot be read as audio: {error}") from error
        if self.sample_rate is not None and rate != self.sample_rate:
            raise UserError(f"{audio} has {rate} Hz, but sample_rate is {self.sample_rate}")
        return speech[:, 0] if speech.shape[1] == 1 else speech.mean(axis=1)


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """The lines of a manifest, each a dict with strings `uid` (used once) and `audio`.

    Raises:
        UserError: naming the file, and the line where it is broken.
    """
    if not path.is_file():
        raise UserError(f"no manifest at {path} (stage 0, prepare, makes it)")
    entries: list[dict[str, Any]] = []
    line_of: dict[str, int] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            entry = _entry(line, f"{path}:{number}")
            first = line_of.setdefault(entry["uid"], number)
            if first != number:
                raise UserError(f"{path}:{number}: uid {entry['uid']!r} is already used in line {first}")
            entries.append(entry)
    return entries


def _entry(line: str, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not a line of JSON ({error})") from error
    if not isinstance(entry, dict):
        raise UserError(f"{where}: a {type(entry).__name__}, not an object {{...}}")
    for key in ("uid", "audio"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise UserError(f"{where}: {key!r} must be a string, given: {entry.get(key)!r}")
    if "speech" in entry:
        raise UserError(f"{where}: the key 'speech' is reserved for the audio that is loaded")
    return entry
