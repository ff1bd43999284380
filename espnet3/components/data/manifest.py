"""Audio listed in a JSON-lines manifest, read on access.

Each line is one utterance: `{"uid": "fmt-001", "audio": "wav/fmt-001.wav", "text": "one two"}`. `audio` is
relative to the manifest's folder; every other key is passed through.
"""

import json
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import soundfile

from espnet3.errors import UserError, no_file
from espnet3.rundir.files.plain_types import has_type
from espnet3.rundir.files.reading import cannot_read, parse_json

_NOT_TEXT = {
    b"\x1f\x8b": "compressed (gzip)",
    b"BZh": "compressed (bzip2)",
    b"\xfd7zX": "compressed (xz)",
    b"\x28\xb5\x2f\xfd": "compressed (zstd)",
    b"PK\x03\x04": "an archive (zip)",
    BOM_UTF16_LE: "in UTF-16",
    BOM_UTF16_BE: "in UTF-16",
}
"""How files begin that were taken for manifests, and what they are."""


@dataclass(frozen=True)
class ListedAudio:
    """Where an utterance is listed, and its audio."""

    manifest: Path
    line: int
    """From 1."""
    audio: Path
    entry: dict[str, Any]
    """The line."""


@dataclass(frozen=True)
class BrokenLine:
    """A line of a manifest that is no utterance."""

    manifest: Path
    line: int
    uid: str
    """Empty where it has none."""
    text: str
    """What is wrong with it."""

    def __str__(self) -> str:
        return f"{self.manifest}:{self.line}: {self.text}"


_broken_lines: ContextVar[list[BrokenLine] | None] = ContextVar("broken lines", default=None)


@contextmanager
def broken_lines_left_out() -> Iterator[list[BrokenLine]]:
    """Within it, a manifest that is read is read without its broken lines, which are in the list given."""
    found: list[BrokenLine] = []
    token = _broken_lines.set(found)
    try:
        yield found
    finally:
        _broken_lines.reset(token)


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
        lines = read_manifest(self.path)
        self._entries = list(lines.values())
        self._line_of = {entry["uid"]: line for line, entry in lines.items()}

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

    def listed(self, index: int) -> ListedAudio:
        """The line and the audio file of a sample."""
        entry = self._entries[index]
        return ListedAudio(self.path, self._line_of[entry["uid"]], self.path.parent / entry["audio"], entry)

    def _load(self, audio: Path) -> Any:
        if not audio.is_file():
            problem = no_file(audio) or "does not exist"
            raise UserError(f"{audio} {problem}, but {self.path} lists it (stage 0 makes both)")
        try:
            speech, rate = soundfile.read(audio, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise UserError(f"{audio} cannot be read as audio: {error}") from error
        if self.sample_rate is not None and rate != self.sample_rate:
            raise UserError(f"{audio} has {rate} Hz, but sample_rate is {self.sample_rate}")
        return speech[:, 0] if speech.shape[1] == 1 else speech.mean(axis=1)


def read_manifest(path: Path) -> dict[int, dict[str, Any]]:
    """The utterances of a manifest by line, from 1, each a dict with strings `uid` (used once) and `audio`.

    Raises:
        UserError: naming the file, and the first line that is broken; see `broken_lines_left_out`.
    """
    if not path.is_file():
        if problem := no_file(path):
            raise UserError(f"the manifest {path} {problem}")
        raise UserError(f"no manifest at {path} (stage 0, prepare, makes it)")
    entries: dict[int, dict[str, Any]] = {}
    line_of: dict[str, int] = {}
    with _opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            entry, problem = _entry(line)
            uid = entry.get("uid")
            uid = uid if isinstance(uid, str) else ""
            if not problem and line_of.setdefault(uid, number) != number:
                problem = f"uid {uid!r} is already used in line {line_of[uid]}"
            if not problem:
                entries[number] = entry
                continue
            broken, collected = BrokenLine(path, number, uid, problem), _broken_lines.get()
            if collected is None:
                raise UserError(str(broken))
            collected.append(broken)
    return entries


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file, after a mark of UTF-8 at its start.

    Raises:
        UserError: it can't be read, or no line of it is text in UTF-8.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
            for mark, what in _NOT_TEXT.items():
                if start.startswith(mark):
                    raise UserError(f"{path} is {what}; a manifest is text in UTF-8, a line of JSON each")
            file.seek(len(BOM_UTF8) if start.startswith(BOM_UTF8) else 0)
            yield file
    except OSError as error:
        raise cannot_read(error, path) from error


def _entry(line: bytes) -> tuple[dict[str, Any], str]:
    """The object in a line, and what is wrong with it."""
    try:
        entry = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return {}, f"not UTF-8: byte {line[error.start]:#04x} at column {error.start + 1}"
    except json.JSONDecodeError as error:
        return {}, f"not a line of JSON: {error.msg} at column {error.colno}"
    except ValueError as error:  # of a number of thousands of digits; nested too deeply
        return {}, f"not a line of JSON: {error}"
    if not isinstance(entry, dict):
        return {}, f"a {type(entry).__name__}, not an object {{...}}"
    for key in ("uid", "audio"):
        if key not in entry:
            return entry, f"has no {key!r}"
        if not has_type(entry[key], str) or not entry[key]:
            return entry, f"{key!r} must be a string, given: {entry.get(key)!r}"
    if "speech" in entry:
        return entry, "the key 'speech' is reserved for the audio that is loaded"
    return entry, ""
