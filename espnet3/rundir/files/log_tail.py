"""New lines of a growing log."""

from collections.abc import Iterable, Iterator
from pathlib import Path

LOG_ONLY = "| "
"""Lines that begin so, such as those of a traceback that one line sums up, are for who reads the log."""


def log_only(text: str) -> str:
    """The lines of `text` as they are written to a log which is shown without them."""
    return "\n".join(f"{LOG_ONLY}{line}" for line in text.rstrip().splitlines())


def without_log_only(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a log that are shown while it grows."""
    return (line for line in lines if not line.startswith(LOG_ONLY))


class LogTail:
    """New complete lines of a growing file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._partial_line = b""

    def lines(self) -> list[str]:
        """Lines completed since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(new)
        *complete, self._partial_line = (self._partial_line + new).split(b"\n")
        return [line.decode(errors="replace") for line in complete]

    def rest(self) -> list[str]:
        """The last line, if it has no line end."""
        line, self._partial_line = self._partial_line, b""
        return [line.decode(errors="replace")] if line else []
