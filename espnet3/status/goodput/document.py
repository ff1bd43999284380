"""The goodput of runs as plain data for JSON."""

from collections.abc import Sequence
from typing import Any

from espnet3.status.goodput.ledger import KINDS, QUEUED, Row, kept_share, totals, trained_share


def goodput_document(rows: Sequence[Row], *, with_rows: bool = True) -> dict[str, Any]:
    """Shares `trained`, `kept`; `seconds`, `node_hours`, `gpu_hours` by kind, in all; a row each attempt."""
    document = {
        "trained": _rounded(trained_share(rows)),
        "kept": _rounded(kept_share(rows)),
        "seconds": _seconds(totals(rows)),
        "node_hours": hours(rows, gpus=False),
        "gpu_hours": hours(rows, gpus=True),
    }
    return {**document, "rows": [_row(row) for row in rows]} if with_rows else document


def _row(row: Row) -> dict[str, Any]:
    return {
        "job": row.job,
        "start": row.start,
        "stage": row.stage,
        "attempt": row.attempt,
        "nodes": row.nodes,
        "gpus": row.gpus,
        "seconds": _seconds(row.seconds),
    }


def hours(rows: Sequence[Row], *, gpus: bool) -> dict[str, float]:
    """Node-hours, or GPU-hours, by kind; what waits in the queue holds neither."""
    kinds = [kind for kind in KINDS if kind != QUEUED]
    return {
        kind: round(
            sum(row.seconds.get(kind, 0.0) * (row.gpus if gpus else row.nodes) for row in rows) / 3600, 6
        )
        for kind in kinds
    }


def _seconds(by_kind: Any) -> dict[str, float]:
    return {kind: round(by_kind.get(kind, 0.0), 3) for kind in KINDS}


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
