"""Output of a command: lines, a progress bar on a terminal, a table of metrics."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from espnet3.errors import printable
from espnet3.number_text import number_text
from espnet3.terminal.fitting import folded

STAMPED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO )?")


class Screen:
    """Lines on standard output; unless it is a terminal, plain and with a time stamp."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self.is_terminal = self.console.is_terminal

    @property
    def width(self) -> int | None:
        """Columns of the terminal, or those of COLUMNS; None elsewhere, where a line may have any length."""
        asked_for = os.environ.get("COLUMNS", "").isdigit()  # then rich knows it
        return self.console.width if self.is_terminal or asked_for else None

    def line(self, text: str) -> None:
        """Print one line; a line with a time stamp gets no second one. Control characters are escaped."""
        text = printable(text)
        if self.is_terminal:
            self.console.print(folded(STAMPED.sub("", text), self.console.width), markup=False)
            return
        stamp = "" if STAMPED.match(text) else time.strftime("%Y-%m-%d %H:%M:%S ")
        print(f"{stamp}{text}", flush=True)

    def styled(self, pieces: Sequence[tuple[str, str]]) -> None:
        """Print one line of pieces of text, each with a rich style for terminals; without time stamp."""
        pieces = [(printable(text), style) for text, style in pieces]
        if self.is_terminal:
            self.console.print(Text.assemble(*pieces))
        else:
            print("".join(text for text, _ in pieces), flush=True)

    @contextmanager
    def redrawn(self) -> Iterator[Callable[[Sequence[Sequence[tuple[str, str]]]], None]]:
        """A function that shows lines in place of the previous ones, or below them if not on a terminal."""
        if not self.is_terminal:

            def append(lines: Sequence[Sequence[tuple[str, str]]]) -> None:
                self.line("")
                for line in lines:
                    self.styled(line)

            yield append
            return
        with Live(console=self.console, screen=True, auto_refresh=False) as live:

            def replace(lines: Sequence[Sequence[tuple[str, str]]]) -> None:
                room = self.console.height - 1
                if len(lines) > room + 1:
                    lines = [*lines[:room], [(f"… and {len(lines) - room} more lines", "dim")]]
                shown = Text("\n", overflow="fold", no_wrap=False).join(
                    Text.assemble(*((printable(text), style) for text, style in line)) for line in lines
                )
                live.update(shown, refresh=True)

            yield replace

    def metrics(self, title: str, metrics: dict[str, Any]) -> None:
        """Print metrics as a table."""
        if not self.is_terminal:
            for name, value in metrics.items():
                self.line(f"{title}: {name} = {show(value)}")
            return
        table = Table(title=title, title_justify="left", show_header=False)
        for name, value in metrics.items():
            table.add_row(Text(printable(name)), Text(printable(show(value))))
        self.console.print(table)


def show(value: Any) -> str:
    """A metric in a table: four significant digits."""
    return number_text(value, 4) if isinstance(value, float) else str(value)


class ProgressBar:
    """The progress bar of a stage, updated from heartbeats; shows nothing if the screen is no terminal."""

    def __init__(self, screen: Screen, title: str) -> None:
        self._progress = Progress(
            TextColumn(title, markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[position]}", markup=False),
            TimeElapsedColumn(),
            console=screen.console,
            disable=not screen.is_terminal,
            transient=True,
        )
        self._bar = self._progress.add_task(title, total=None, position="starting")

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Show `text`, such as what the job waits for, in place of a position."""
        self._progress.update(self._bar, position=printable(text[:40]))

    def show(self, heartbeat: dict[str, Any]) -> None:
        """Move the bar to the position in `heartbeat` (fields of rundir.heartbeat)."""
        done, total = heartbeat.get("done", 0), heartbeat.get("total")
        self._progress.update(self._bar, completed=done, total=total, position=printable(position(heartbeat)))


def position(heartbeat: dict[str, Any]) -> str:
    """The heartbeat in at most 40 characters: "epoch 3/20 batch 12/48 loss 1.234"."""
    words = []
    if heartbeat.get("epoch") is not None:
        words.append(f"epoch {heartbeat['epoch']}/{heartbeat.get('max_epochs') or '?'}")
    if heartbeat.get("done") is not None:
        words.append(
            f"{heartbeat.get('unit', '')} {heartbeat['done']}/{heartbeat.get('total') or '?'}".strip()
        )
    for name, value in (heartbeat.get("metrics") or {}).items():
        metric = f"{name.rpartition('/')[2]} {show(value)}"
        if len(" ".join([*words, metric])) > 40:
            break
        words.append(metric)
    return " ".join(words)
