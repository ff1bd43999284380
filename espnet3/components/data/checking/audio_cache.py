"""What was found out about audio files, kept by path, size and time of change."""

import json
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from espnet3.components.data.checking.audio import AudioFacts, examine
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.files.plain_types import has_type
from espnet3.rundir.files.reading import parse_json
from espnet3.rundir.records.data_check import file_state

SAVED_EVERY_S = 60.0
FORMAT = 1
"""Of the file; one of another format is not read."""


class AudioCache:
    """Examines audio files, each once until it changes; may be called from several threads.

    Args:
        path: the file that keeps it; its folder is made. Where it can't be written nothing is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.examined = 0
        """Files that were read, not found in the cache."""
        self._known: dict[str, list[Any]] = _read(path)
        self._lock = threading.Lock()
        self._saved_at = time.monotonic()
        self._changed = False

    def examine(self, path: Path, *, decode: bool) -> AudioFacts:
        """As `audio.examine`."""
        name = str(path)
        state = file_state(path)
        known = self._known.get(name)
        is_known = isinstance(known, list) and known[:2] == state and len(known) == 3
        if is_known and has_type(known[2], AudioFacts) and (not decode or known[2]["decoded"]):
            return AudioFacts(**known[2])
        facts = examine(path, decode=decode)
        with self._lock:
            self.examined += 1
            if state is not None:  # one that is missing costs nothing to look at again
                self._known[name] = [*state, asdict(facts)]
                self._changed = True
            if time.monotonic() - self._saved_at > SAVED_EVERY_S:
                self._save()
        return facts

    def save(self) -> None:
        """Write the file."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if not self._changed:
            return
        with suppress(OSError):  # a corpus that may only be read
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps({"format": FORMAT, "files": self._known}))
            self._changed = False


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        return dict(content["files"]) if content["format"] == FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
