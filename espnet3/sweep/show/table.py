"""A sweep as a table: one line per trial, with its swept values, state and objective."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from espnet3.errors import short_path
from espnet3.status.table import STYLES, Line
from espnet3.sweep.show.results import SweepStatus, TrialRow
from espnet3.sweep.show.searcher import search_line
from espnet3.sweep.trials.naming import labels, number_text
from espnet3.terminal.screen import position, show

_GAP = "  "
_MAX_NOTE_LENGTH = 60


def sweep_table(status: SweepStatus) -> list[Line]:
    """The table, with a summary line above it."""
    keys, best = status.record.keys, status.best
    short_names = labels(keys)
    metric = f"{status.record.objective} ({'min' if status.record.direction == 'minimize' else 'max'})"
    cells = [["", "trial", *(short_names[key] for key in keys), "state", metric, "progress", ""]]
    for number, row in enumerate(status.rows, start=1):
        cells.append(
            [
                "*" if best is not None and row.name == best.name else "",
                str(number),
                *(value_text(row.listed.values.get(key, "")) for key in keys),
                "DIVERGED" if row.state.state == "diverged" else row.state.state,
                _value(row),
                progress(row),
                note(row),
            ]
        )
    columns = list(zip(*cells, strict=True))
    sizes = [max(map(len, column)) if any(column[1:]) else 0 for column in columns]
    lines: list[Line] = [[(f"{short_path(status.directory)}: {summary(status.rows)}", "bold")]]
    for number, line in enumerate(cells):
        text = _GAP.join(cell.ljust(size) for cell, size in zip(line, sizes, strict=True) if size).rstrip()
        style = "bold" if number == 0 or line[0] else STYLES.get(status.rows[number - 1].state.state, "")
        lines.append([(text, style)])
    if best is not None:
        value = f"{status.record.objective} {show(best.objective)}"
        lines.append([(f"best: {best.name}, {value} at its best checkpoint", "bold")])
    search = search_line(status.directory)
    lines += [[(search, "")]] if search else []
    if status.queue.problem:
        lines.append(
            [(f"Slurm can't be asked ({status.queue.problem}): this is what the files say", "yellow")]
        )
    return lines


def summary(rows: Sequence[TrialRow]) -> str:
    """As text: "6 trials: 5 done, 1 failed"."""
    counts = Counter(row.state.state for row in rows)
    return f"{len(rows)} trial{'s' * (len(rows) != 1)}: " + counted(counts)


def counted(counts: Counter[Any]) -> str:
    """How many trials are in each state: "5 done, 1 failed"."""
    order = ("done", "running", "queued", "failed", "diverged", "killed", "cancelled", "stopped", "missing")
    return ", ".join(f"{counts[state]} {state}" for state in order if counts[state]) or "none"


def value_text(value: Any) -> str:
    """A swept value in a table; empty if the trial has no such key."""
    if value is None:
        return ""
    return number_text(value) if isinstance(value, float) else str(value)


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
    text = row.state.message
    if row.listed.older:
        text = "; ".join(filter(None, ["older configuration", text]))
    return text if len(text) <= _MAX_NOTE_LENGTH else f"{text[: _MAX_NOTE_LENGTH - 1]}…"
