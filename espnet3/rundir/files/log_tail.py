"""New lines of a growing log."""

from pathlib import Path


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
