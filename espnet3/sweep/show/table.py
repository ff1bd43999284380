"""A sweep as a table: one line per trial, with its swept values, state and objective."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from espnet3.errors import short_path
from espnet3.number_text import counted
from espnet3.status.show import lemon_lines
from espnet3.status.table import STYLES, Line, below
from espnet3.sweep.show.results import SweepStatus, TrialRow
from espnet3.sweep.show.searcher import search_line
from espnet3.sweep.show.shared import failure_line
from espnet3.sweep.trials.naming import labels
from espnet3.sweep.trials.value_text import value_text
from espnet3.terminal.fitting import folded, narrowed, path_within, without_middle
from espnet3.terminal.screen import position, show

_GAP = "  "
_MAX_NOTE_LENGTH = 60
_SHORTEST_CELL = 9
"""The least number of characters of a cell in a narrow terminal: every state and number fits."""


def sweep_table(status: SweepStatus, width: int | None = None) -> list[Line]:
    """The table, with a summary line above it.

    Args:
        status: of the sweep.
        width: of the terminal, in characters; None: unlimited. Where a row does not fit, its progress and
            message are shown below it, and long values lose their middle.
    """
    best = status.best
    rows = _cells(status, best)
    below_rows: list[list[str]] = [[] for _ in rows]
    lines = _aligned(rows)
    if width and max(map(len, lines)) > width:
        below_rows = [list(filter(None, row[-len(_LAST) :])) for row in rows]
        lines = _aligned([row[: -len(_LAST)] for row in rows], width)
    styles = ["bold" if row[0] else STYLES.get(row[-len(_LAST) - 2].lower(), "") for row in rows]
    counts = summary(status.rows)
    where = short_path(status.directory)
    if width:
        where = path_within(where, max(width - len(f": {counts}"), width // 2))
    table = [*_texts(f"{where}: {counts}", width, "bold"), [(lines[0], "bold")]]
    for line, texts, style in list(zip(lines, below_rows, styles, strict=True))[1:]:
        table += [[(line, style)], *(one for text in texts for one in below(text, width, style))]
    if best is not None:
        name = without_middle(best.name, width - len("best: ,")) if width else best.name
        value = f"{status.record.objective} {show(best.objective)} at its best checkpoint"
        table += _texts(f"best: {name}, {value}", width, "bold")
    for failed in status.failed_shared:
        table += _texts(failure_line(failed), width, "red")
    table += _texts(search_line(status.directory) or "", width, "")
    for lemon in lemon_lines(status.blaming, time.time()):
        table += _texts(lemon[0][0], width, lemon[0][1])
    if status.queue.problem:
        problem = f"Slurm can't be asked ({status.queue.problem}): this is what the files say"
        table += _texts(problem, width, "yellow")
    for number, row in enumerate(status.rows, start=1):
        if row.state.state == "unreadable":
            table += _texts(f"trial {number} is not shown: {row.state.message}", width, "yellow")
    return table


_LAST = ("progress", "")
"""Headings of the columns that a narrow terminal shows below the row: progress and message."""


def _cells(status: SweepStatus, best: TrialRow | None) -> list[list[str]]:
    """The heading and a row for each trial: mark of the best, number, values, state, objective, `_LAST`."""
    keys = status.record.keys
    metric = f"{status.record.objective} ({'min' if status.record.direction == 'minimize' else 'max'})"
    cells = [["", "trial", *labels(keys).values(), "state", metric, *_LAST]]
    for number, row in enumerate(status.rows, start=1):
        values = [row.listed.values.get(key) for key in keys]
        cells.append(
            [
                "*" if best is not None and row.name == best.name else "",
                str(number),
                *("" if value is None else value_text(value) for value in values),
                "DIVERGED" if row.state.state == "diverged" else row.state.state,
                _value(row),
                progress(row),
                note(row),
            ]
        )
    return cells


def _aligned(cells: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Rows of cells as lines without empty columns, the heading first; long cells are cut to fit `width`."""
    columns = list(zip(*cells, strict=True))
    sizes = [max(map(len, column)) if any(column[1:]) else 0 for column in columns]
    if width:
        shown = [number for number, size in enumerate(sizes) if size]
        excess = sum(sizes) + len(_GAP) * (len(shown) - 1) - width
        sizes = narrowed(sizes, shown, excess, _SHORTEST_CELL)
    return [
        _GAP.join(
            without_middle(cell, size).ljust(size) for cell, size in zip(row, sizes, strict=True) if size
        ).rstrip()
        for row in cells
    ]


def _texts(text: str, width: int | None, style: str) -> list[Line]:
    return [[(line, style)] for line in (folded(text, width) if width else text).splitlines()]


def summary(rows: Sequence[TrialRow]) -> str:
    """As text: "6 trials: 5 done, 1 failed"."""
    counts = Counter(row.state.state for row in rows)
    return f"{counted(len(rows), 'trial')}: {by_state(counts)}"


def by_state(counts: Counter[Any]) -> str:
    """How many trials are in each state: "5 done, 1 failed"."""
    order = (
        *("done", "running", "queued", "failed", "diverged", "killed", "cancelled", "stopped", "missing"),
        "unreadable",
    )
    return ", ".join(f"{counts[state]} {state}" for state in order if counts[state]) or "none"


def _value(row: TrialRow) -> str:
    """The objective; of a diverged trial, in brackets, its last finite value."""
    if row.last_finite is not None:
        return f"({show(row.last_finite)})"
    return "" if row.objective is None else show(row.objective)


def progress(row: TrialRow) -> str:
    """The progress of a running trial."""
    status = row.state.stage_status
    if row.state.state != "running" or status is None:
        return ""
    beat = {"epoch": status.epoch, "max_epochs": status.max_epochs, "unit": status.unit, "done": status.done}
    return f"{status.stage} {position({**beat, 'total': status.total, 'metrics': status.metrics})}".strip()


def note(row: TrialRow) -> str:
    """The message about a trial, shortened."""
    text = row.state.message if row.state.state != "unreadable" else ""  # below the table, in full
    marks = [*(["older configuration"] if row.listed.older else []), row.shorter]
    text = "; ".join(filter(None, [*marks, text]))
    return text if len(text) <= _MAX_NOTE_LENGTH else f"{text[: _MAX_NOTE_LENGTH - 1]}…"
