"""The tables of `espnet3 status --goodput`: pure functions of rows and the terminal's width."""

from collections.abc import Mapping, Sequence

from espnet3.status.goodput.document import hours
from espnet3.status.goodput.ledger import KINDS, QUEUED, Row, kept_share, totals, trained_share
from espnet3.status.table import Line, share_text
from espnet3.terminal.fitting import folded, path_within

_GAP = "  "
_NAMES = {"startup": "start-up"}


def goodput_lines(
    title: str, rows: Sequence[Row], width: int | None, *, by_attempt: bool = True
) -> list[Line]:
    """What all time was spent on, by kind, then by attempt, in seconds; kinds of no time are left out."""
    by_kind = totals(rows)
    lines: list[Line] = [[(path_within(title, width) if width else title, "bold")]]
    lines += _texts(_summary(rows), width, "")
    if not any(by_kind.values()):
        return lines
    lines += _of_all(rows, by_kind)
    if not by_attempt:
        return lines
    labels = [(f"{row.stage}-{row.attempt}" if row.attempt else "none yet", row.start) for row in rows]
    return [*lines, [("", "")], *_by_row(("attempt", "job"), labels, [row.seconds for row in rows], width)]


def goodput_by_trial(trials: Sequence[Sequence[Row]], width: int | None) -> list[Line]:
    """A line for each trial of a sweep, by its number."""
    labels = [(str(number), share_text(trained_share(rows))) for number, rows in enumerate(trials, start=1)]
    return _by_row(("trial", "trained"), labels, [totals(rows) for rows in trials], width)


def _summary(rows: Sequence[Row]) -> str:
    trained, kept = share_text(trained_share(rows)), share_text(kept_share(rows))
    if not trained:
        return "nothing was trained yet"
    return f"{trained} of the time on nodes trained; starts and faults left {kept}"


def _of_all(rows: Sequence[Row], by_kind: Mapping[str, float]) -> list[Line]:
    nodes, gpus = hours(rows, gpus=False), hours(rows, gpus=True)
    held = sum(by_kind.values()) - by_kind[QUEUED]
    cells = [["", "seconds", "share", "node-hours", "GPU-hours" if any(gpus.values()) else ""]]
    for kind in KINDS:
        if by_kind[kind]:
            on_nodes = []
            if kind != QUEUED:
                on_nodes = [_percent(by_kind[kind], held), _hours(nodes[kind]), _hours(gpus[kind])]
            cells.append([_NAMES.get(kind, kind), _number(by_kind[kind]), *on_nodes])
    everything = [_percent(held, held), _hours(sum(nodes.values())), _hours(sum(gpus.values()))]
    cells.append(["in all", _number(sum(by_kind.values())), *everything])
    wide = 5 if any(gpus.values()) else 4
    return _aligned([[*row, *[""] * 5][:wide] for row in cells], left=1)


def _by_row(
    heads: tuple[str, str],
    labels: Sequence[tuple[str, str]],
    seconds: Sequence[Mapping[str, float]],
    width: int | None,
) -> list[Line]:
    """A line for each row, under its kinds; kinds that do not fit into `width` stand in a table below."""
    kinds = [kind for kind in KINDS if any(_number(one.get(kind, 0.0)) != "0" for one in seconds)]
    left = [list(heads), *([*label] for label in labels)]
    if not any(second for _, second in labels):
        left = [[first] for first, _ in left]
    columns = [[_NAMES.get(kind, kind), *(_number(one.get(kind, 0.0)) for one in seconds)] for kind in kinds]
    room = (width or 10**6) - sum(max(len(row[at]) for row in left) + 2 for at in range(len(left[0]))) + 2
    blocks: list[list[list[str]]] = [[]]
    used = 0
    for column in columns:
        size = max(map(len, column)) + len(_GAP)
        if blocks[-1] and used + size > room:
            blocks.append([])
            used = 0
        blocks[-1].append(column)
        used += size
    lines: list[Line] = []
    for block in blocks:
        lines += [[("", "")]] if lines else []
        rows = [[*label, *(column[at] for column in block)] for at, label in enumerate(left)]
        lines += _aligned(rows, left=len(left[0]))
    return lines


def _aligned(cells: Sequence[Sequence[str]], left: int) -> list[Line]:
    """Lines, the first one bold; the first `left` columns begin at their left, numbers end at their right."""
    sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines: list[Line] = []
    for row in cells:
        padded = [
            cell.ljust(size) if at < left else cell.rjust(size)
            for at, (cell, size) in enumerate(zip(row, sizes, strict=True))
        ]
        lines.append([(_GAP.join(padded).rstrip(), "" if lines else "bold")])
    return lines


def _number(seconds: float) -> str:
    """Seconds; short ones with a digit behind the point."""
    return f"{seconds:.0f}" if seconds >= 100 or seconds < 0.05 else f"{seconds:.1f}"


def _percent(part: float, whole: float) -> str:
    return share_text(part / whole if whole else 0.0)


def _hours(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.2f}" if value >= 1 else f"{value:.4f}"


def _texts(text: str, width: int | None, style: str) -> list[Line]:
    return [[(line, style)] for line in (folded(text, width) if width else text).splitlines()]
