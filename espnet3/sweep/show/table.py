"""A sweep as a table: one line per trial, with its swept values, its state and what it is compared by."""

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
_LONGEST = 60


def sweep_table(seen: SweepStatus) -> list[Line]:
    """The table, with a line about the whole above it."""
    keys, best = seen.record.keys, seen.best
    short = labels(keys)
    metric = f"{seen.record.objective} ({'min' if seen.record.direction == 'minimize' else 'max'})"
    cells = [["", "trial", *(short[key] for key in keys), "state", metric, "progress", ""]]
    for number, row in enumerate(seen.rows, start=1):
        cells.append(
            [
                "*" if best is not None and row.name == best.name else "",
                str(number),
                *(value_text(row.listed.values.get(key, "")) for key in keys),
                row.state.state,
                "" if row.objective is None else show(row.objective),
                progress(row),
                note(row),
            ]
        )
    columns = list(zip(*cells, strict=True))
    sizes = [max(map(len, column)) if any(column[1:]) else 0 for column in columns]
    lines: list[Line] = [[(f"{short_path(seen.directory)}: {summary(seen.rows)}", "bold")]]
    for number, line in enumerate(cells):
        text = _GAP.join(cell.ljust(size) for cell, size in zip(line, sizes, strict=True) if size).rstrip()
        style = "bold" if number == 0 or line[0] else STYLES.get(seen.rows[number - 1].state.state, "")
        lines.append([(text, style)])
    if best is not None:
        lines.append([(f"best: {best.name}, {seen.record.objective} {show(best.objective)}", "bold")])
    search = search_line(seen.directory)
    lines += [[(search, "")]] if search else []
    if seen.queue.problem:
        lines.append([(f"Slurm can't be asked ({seen.queue.problem}): this is what the files say", "yellow")])
    return lines


def summary(rows: Sequence[TrialRow]) -> str:
    """In words: "6 trials: 5 done, 1 failed"."""
    counts = Counter(row.state.state for row in rows)
    return f"{len(rows)} trial{'s' * (len(rows) != 1)}: " + counted(counts)


def counted(counts: Counter[Any]) -> str:
    """How many are in which state: "5 done, 1 failed"."""
    order = ("done", "running", "queued", "failed", "killed", "cancelled", "stopped", "missing")
    return ", ".join(f"{counts[state]} {state}" for state in order if counts[state]) or "none"


def value_text(value: Any) -> str:
    """A swept value in a table; nothing where the trial has no such key."""
    if value is None:
        return ""
    return number_text(value) if isinstance(value, float) else str(value)


def progress(row: TrialRow) -> str:
    """How far a trial that runs is."""
    status = row.state.stage_status
    if row.state.state != "running" or status is None:
        return ""
    beat = {"epoch": status.epoch, "max_epochs": status.max_epochs, "unit": status.unit, "done": status.done}
    return f"{status.stage} {position({**beat, 'total': status.total, 'metrics': status.metrics})}".strip()


def note(row: TrialRow) -> str:
    """What is to be said of it, shortened."""
    text = row.state.message
    if row.listed.older:
        text = "; ".join(filter(None, ["older configuration", text]))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
