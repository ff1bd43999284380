"""The table of `espnet3 status`: a pure function of statuses and the terminal's width."""

import math
import os
import re
from collections.abc import Callable, Sequence
from itertools import groupby

from espnet3.errors import short_path
from espnet3.number_text import counted
from espnet3.status.stage_status import AT_WORK, OVER_NOT_DONE, StageStatus
from espnet3.terminal.fitting import folded, narrowed, path_within, without_middle
from espnet3.terminal.screen import show

Line = list[tuple[str, str]]
"""Pieces of text, each with a rich style for terminals, or ""."""

STYLES = {
    **{"done": "green", "running": "cyan", "restarting": "yellow", "held": "yellow", "stopped": "yellow"},
    **{
        "failed": "red",
        "diverged": "red",
        "killed": "red",
        "blocked": "red",
        "cancelled": "magenta",
        "not started": "yellow",
    },
}
_GAP = "  "
_SHORT = 18
"""A reason of up to so many characters is shown beside the state; a longer one on its own line."""
_SHORTEST_RUN = 12
"""The least number of characters of a run's name in a narrow terminal."""


def table(statuses: Sequence[StageStatus], width: int | None) -> list[Line]:
    """The table as lines, one for each stage; columns that do not fit into `width` are shown below the row.

    Args:
        statuses: of all runs, grouped by run.
        width: of the terminal, in characters; None: unlimited.
    """
    runs = [run for run, _ in groupby(status.run for status in statuses)]
    head = [*([("run", lambda status: status.run.name)] if len(runs) > 1 else []), *_HEAD]
    for columns in ([*head, *_TAIL], [*head, _METRIC, _TRAINED], [*head, _TRAINED], head):
        cells = _cells(columns, statuses)
        sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
        too_wide = sum(sizes) + len(_GAP) * (len(sizes) - 1) - (width or math.inf)
        if too_wide <= 0:
            break
    if too_wide > 0 and len(runs) > 1:
        sizes = narrowed(sizes, {0}, int(too_wide), _SHORTEST_RUN)
    lines: list[Line] = [_line(cells[0], sizes, "bold")] if cells[0] else []
    heading = ""
    for status, row in zip(statuses, cells[1:], strict=True):
        where = _heading(status, width, several=len(runs) > 1)
        if where != heading:
            heading = where
            lines.insert(0, [(where, "bold")]) if len(lines) == 1 else lines.append([(where, "bold")])
        lines.append(_line(row, sizes, STYLES.get(status.state, "")))
        hidden = [column for column in _TAIL if column not in columns]
        lines += [[(f"{_GAP}{text}", "dim")] for text in _flow(status, hidden, width or 0)]
        if len(status.reason) > _SHORT:
            lines += below(status.reason, width, STYLES.get(status.state, ""))
    return lines


def duration(seconds: float | None) -> str:
    """`seconds` in at most six characters: "9:05", "3h07m", "2d5h"; empty for None."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def share_text(share: float | None) -> str:
    """A share as "93 %"; one that is not all is never shown as 100 %."""
    if share is None:
        return ""
    percent = round(100 * share)
    return f"{min(percent, 99) if share < 1 else percent} %"


def node_list(names: Sequence[str]) -> str:
    """Node names in Slurm's notation: "node[1-2,4]"."""
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
    """The metric shown, with its value: of a test set in stage 3, else the first, the monitored one."""
    of_test = (name for name in metrics if not name.startswith(("valid/", "train/", "best ")))
    name = next(of_test, next(iter(metrics), ""))
    return (name, show(metrics[name])) if name else ("", "")


def _epoch(status: StageStatus) -> str:
    return "" if status.epoch is None else f"{status.epoch}/{status.max_epochs or '?'}"


def _progress(status: StageStatus) -> str:
    if status.done is None or status.state == "done":
        return ""
    return f"{status.unit} {status.done}/{status.total or '?'}".strip()


def _nodes(status: StageStatus) -> str:
    spares = f" + {counted(len(status.spares), 'spare')}" if status.spares else ""
    return node_list(status.nodes) + spares


def _speed(status: StageStatus) -> str:
    if status.state not in AT_WORK or not status.utterances_per_s:
        return ""
    return (
        f"{status.utterances_per_s:.0f}"
        if status.utterances_per_s >= 10
        else f"{status.utterances_per_s:.1f}"
    )


def _state(status: StageStatus) -> str:
    return f"{status.state} ({status.reason})" if 0 < len(status.reason) <= _SHORT else status.state


Column = tuple[str, Callable[[StageStatus], str]]
_HEAD: list[Column] = [
    ("stage", lambda status: status.stage),
    ("job", lambda status: status.job_id),
    ("state", _state),
    ("attempt", lambda status: str(status.attempt or "")),
    ("elapsed", lambda status: duration(status.elapsed_s)),
    ("beat", lambda status: duration(status.heartbeat_age_s)),
]
_TRAINED: Column = ("trained", lambda status: share_text(status.trained))
_METRIC: Column = ("metric", lambda status: " ".join(last_metric(status.metrics)).strip())
_TAIL: list[Column] = [
    ("nodes", _nodes),
    ("epoch", _epoch),
    ("progress", _progress),
    ("utt/s", _speed),
    _METRIC,
    _TRAINED,
    ("ETA", lambda status: duration(status.eta_s)),
]


def _cells(columns: Sequence[Column], statuses: Sequence[StageStatus]) -> list[list[str]]:
    """The cells of the header and each row, without columns that are empty in all rows."""
    filled = [(name, value) for name, value in columns if any(value(status) for status in statuses)]
    return [[name for name, _ in filled], *([value(status) for _, value in filled] for status in statuses)]


def _line(cells: Sequence[str], sizes: Sequence[int], style: str) -> Line:
    cut = [without_middle(cell, size) for cell, size in zip(cells, sizes, strict=True)]
    padded = [cell.ljust(size) for cell, size in zip(cut, sizes, strict=True)]
    return [(_GAP.join(padded).rstrip(), style)]


def below(text: str, width: int | None, style: str) -> list[Line]:
    """A text below its row, indented, in lines that fit into `width`."""
    lines = folded(text, width - len(_GAP)).splitlines() if width else [text]
    return [[(f"{_GAP}{line}", style)] for line in lines]


def _heading(status: StageStatus, width: int | None, *, several: bool) -> str:
    path = short_path(status.run.parent if several else status.run)
    path = path_within(path, width - len(os.sep)) if width else path
    return path + os.sep if several else path


def _flow(status: StageStatus, hidden: Sequence[Column], width: int) -> list[str]:
    """The lines that a narrow terminal shows below the row: the columns that it hides, some with names."""
    if status.state not in (*AT_WORK, *OVER_NOT_DONE):
        return []
    values = {name: value(status) for name, value in hidden}
    names = {"epoch": "epoch {}", "utt/s": "{} utt/s", "ETA": "ETA {}", "trained": "{} trained"}
    items = [names.get(name, "{}").format(value) for name, value in values.items() if value]
    if values.get("epoch") and values.get("progress"):
        at = items.index(values["progress"])
        items[at - 1 : at + 1] = [f"{items[at - 1]} {items[at]}"]
    if len(_GAP.join(items)) + len(_GAP) > width:
        items = [item.rpartition("/")[2] if item == values.get("metric") else item for item in items]
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 2 * len(_GAP) <= width:
            lines[-1] += _GAP + item
        else:
            lines.append(item)
    return lines
