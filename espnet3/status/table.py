"""The table of `espnet3 status`: a pure function of what is statuses, and of the width there is."""

import math
import os
import re
from collections.abc import Callable, Sequence
from itertools import groupby

from espnet3.errors import short_path
from espnet3.status.stage_status import AT_WORK, OVER_NOT_DONE, StageStatus
from espnet3.terminal.screen import show

Line = list[tuple[str, str]]
"""Pieces of text, and how a terminal shows each (a style of rich, or nothing)."""

STYLES = {
    **{"done": "green", "running": "cyan", "restarting": "yellow", "held": "yellow", "stopped": "yellow"},
    **{"failed": "red", "killed": "red", "blocked": "red", "cancelled": "magenta", "not started": "yellow"},
}
_GAP = "  "
_SHORT = 18
"""A reason of so many characters stands beside the state; a longer one in a line of its own."""
_SHORTEST_RUN = 12
"""Characters of a run's name that a narrow terminal shows at least."""


def table(statuses: Sequence[StageStatus], width: int | None) -> list[Line]:
    """The table as lines, one for each stage; what does not fit into `width` columns stands below it.

    Args:
        statuses: of all runs; those of one run follow each other.
        width: of the terminal; None: as wide as it must be.
    """
    runs = [run for run, _ in groupby(one.run for one in statuses)]
    head = [*([("run", lambda one: one.run.name)] if len(runs) > 1 else []), *_HEAD]
    wide = [*head, *_TAIL]
    for columns in (wide, head):
        cells = _cells(columns, statuses)
        sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
        too_wide = sum(sizes) + len(_GAP) * (len(sizes) - 1) - (width or math.inf)
        if too_wide <= 0:
            break
    if too_wide > 0 and len(runs) > 1:
        sizes[0] = min(sizes[0], max(_SHORTEST_RUN, sizes[0] - int(too_wide)))
    lines: list[Line] = [_line(cells[0], sizes, "bold")] if cells[0] else []
    heading = ""
    for one, row in zip(statuses, cells[1:], strict=True):
        where = _heading(one, several=len(runs) > 1)
        if where != heading:
            heading = where
            lines.insert(0, [(where, "bold")]) if len(lines) == 1 else lines.append([(where, "bold")])
        lines.append(_line(row, sizes, STYLES.get(one.state, "")))
        if columns is head:
            lines += [[(f"{_GAP}{text}", "dim")] for text in _flow(one, width or 0)]
        if len(one.reason) > _SHORT:
            lines.append([(f"{_GAP}{one.reason}", STYLES.get(one.state, ""))])
    return lines


def duration(seconds: float | None) -> str:
    """In at most six characters: "9:05", "3h07m", "2d5h"; nothing for None."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def node_list(names: Sequence[str]) -> str:
    """As Slurm writes it: "node[1-2,4]"."""
    parts = [re.fullmatch(r"(.*?)(\d+)", name) for name in names]
    if len(names) < 2 or not all(parts) or len({part[1] for part in parts if part}) > 1:
        return ",".join(names)
    numbers = sorted((int(part[2]), part[2]) for part in parts if part)
    ranges: list[list[tuple[int, str]]] = []
    for number in numbers:
        if ranges and number[0] == ranges[-1][-1][0] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    shown = [r[0][1] if len(r) == 1 else f"{r[0][1]}-{r[-1][1]}" for r in ranges]
    return f"{parts[0][1] if parts[0] else ''}[{','.join(shown)}]"


def last_metric(metrics: dict[str, float]) -> tuple[str, str]:
    """The one that says most, with its value: a loss, of the validation if there is one, else of the test."""
    order = ["valid/loss", "train/loss"]
    order += [name for split in ("test/", "valid/") for name in metrics if name.startswith(split)]
    name = next((name for name in [*order, *metrics] if name in metrics), "")
    return (name, show(metrics[name])) if name else ("", "")


def _epoch(one: StageStatus) -> str:
    return "" if one.epoch is None else f"{one.epoch}/{one.max_epochs or '?'}"


def _progress(one: StageStatus) -> str:
    if one.done is None or one.state == "done":
        return ""
    return f"{one.unit} {one.done}/{one.total or '?'}".strip()


def _speed(one: StageStatus) -> str:
    if one.state not in AT_WORK or not one.utterances_per_s:
        return ""
    return f"{one.utterances_per_s:.0f}" if one.utterances_per_s >= 10 else f"{one.utterances_per_s:.1f}"


def _state(one: StageStatus) -> str:
    return f"{one.state} ({one.reason})" if 0 < len(one.reason) <= _SHORT else one.state


Column = tuple[str, Callable[[StageStatus], str]]
_HEAD: list[Column] = [
    ("stage", lambda one: one.stage),
    ("job", lambda one: one.job_id),
    ("state", _state),
    ("attempt", lambda one: str(one.attempt or "")),
    ("elapsed", lambda one: duration(one.elapsed_s)),
    ("beat", lambda one: duration(one.heartbeat_age_s)),
]
_TAIL: list[Column] = [
    ("nodes", lambda one: node_list(one.nodes)),
    ("epoch", _epoch),
    ("progress", _progress),
    ("utt/s", _speed),
    ("metric", lambda one: " ".join(last_metric(one.metrics)).strip()),
    ("ETA", lambda one: duration(one.eta_s)),
]


def _cells(columns: Sequence[Column], statuses: Sequence[StageStatus]) -> list[list[str]]:
    """The header's and each row's, without the columns that are empty for all."""
    filled = [(name, value) for name, value in columns if any(value(one) for one in statuses)]
    return [[name for name, _ in filled], *([value(one) for _, value in filled] for one in statuses)]


def _line(cells: Sequence[str], sizes: Sequence[int], style: str) -> Line:
    cut = [_cut(cell, size) for cell, size in zip(cells, sizes, strict=True)]
    padded = [cell.ljust(size) for cell, size in zip(cut, sizes, strict=True)]
    return [(_GAP.join(padded).rstrip(), style)]


def _cut(text: str, size: int) -> str:
    """`text` without its middle where it is too long: names of trials differ at both ends."""
    if len(text) <= size:
        return text
    return f"{text[: size // 2]}…{text[len(text) - (size - 1 - size // 2) :]}"


def _heading(one: StageStatus, *, several: bool) -> str:
    path = short_path(one.run.parent if several else one.run)
    return path + os.sep if several else path


def _flow(one: StageStatus, width: int) -> list[str]:
    """What a narrow terminal shows below the row: the columns of the tail, each with its name."""
    if one.state not in (*AT_WORK, *OVER_NOT_DONE):
        return []
    values = {name: value(one) for name, value in _TAIL}
    names = {"epoch": "epoch {}", "utt/s": "{} utt/s", "ETA": "ETA {}"}
    items = [names.get(name, "{}").format(value) for name, value in values.items() if value]
    if values["epoch"] and values["progress"]:
        at = items.index(values["progress"])
        items[at - 1 : at + 1] = [f"{items[at - 1]} {items[at]}"]
    if len(_GAP.join(items)) + len(_GAP) > width:
        items = [item.rpartition("/")[2] if item == values["metric"] else item for item in items]
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 2 * len(_GAP) <= width:
            lines[-1] += _GAP + item
        else:
            lines.append(item)
    return lines
