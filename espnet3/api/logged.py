"""A screen for programs: what a command would print goes to the logger `espnet3`, at level INFO."""

import logging
from collections.abc import Sequence
from typing import Any

from espnet3.terminal.screen import Screen, show


class LoggedScreen(Screen):
    """Lines as messages of the logger; nothing is printed."""

    def __init__(self) -> None:
        super().__init__()
        self.is_terminal = False
        self._log = logging.getLogger("espnet3")

    def line(self, text: str) -> None:
        """Log one line."""
        self._log.info("%s", text)

    def styled(self, pieces: Sequence[tuple[str, str]]) -> None:
        """Log one line of pieces, without their styles."""
        self.line("".join(text for text, _ in pieces))

    def metrics(self, title: str, metrics: dict[str, Any]) -> None:
        """Log metrics, one a line."""
        for name, value in metrics.items():
            self.line(f"{title}: {name} = {show(value)}")
