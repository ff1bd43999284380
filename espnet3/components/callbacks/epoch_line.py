"""The log line of an epoch: the most important metrics first, as many as fit a terminal's width."""

from collections.abc import Iterable, Mapping, Sequence

WIDTH = 79
"""Columns of a line, so that it does not wrap at 80; the loggers' rows hold all metrics."""
OPTIMIZER_KEYS = ("lr", "update_step", "grad_norm")
"""Last parts of the names of metrics of a named optimizer, besides its loss."""


def epoch_line(
    where: str, metrics: Mapping[str, float], rates: Sequence[float], speed: float, monitor: str = ""
) -> str:
    """As `epoch 3/20: valid wer 0.12 loss 1.23, train loss 1.1, lr 0.002, 612 utterances/s`.

    Args:
        where: the epoch, and the batch inside an epoch.
        metrics: by name, as `valid/wer`.
        rates: the learning rates; equal ones are shown once.
        speed: utterances per second.
        monitor: the metric that the best checkpoint is chosen by; it comes first.
    """
    ends = [f"lr {' '.join(dict.fromkeys(f'{rate:.3g}' for rate in rates))}", f"{speed:.0f} utterances/s"]
    shown: list[str] = []
    kept: list[str] = []
    important, others = _ordered(metrics, monitor)
    for piece in [*important, *ends, *others]:
        more_shown = [*shown, piece] if piece in metrics else shown
        more_kept = kept if piece in metrics else [*kept, piece]
        if not shown or len(_line(where, metrics, more_shown, more_kept)) <= WIDTH:
            shown, kept = more_shown, more_kept
    return _line(where, metrics, shown, kept)


def _line(where: str, metrics: Mapping[str, float], shown: Iterable[str], ends: Iterable[str]) -> str:
    groups: dict[str, list[str]] = {}
    for name in shown:
        split, _, key = name.partition("/")
        groups.setdefault(split, []).append(f"{key} {metrics[name]:.3g}")
    groups_text = [f"{split} {' '.join(pairs)}" for split, pairs in groups.items()]
    return f"{where}: {', '.join([*groups_text, *ends])}"


def _ordered(metrics: Mapping[str, float], monitor: str) -> tuple[list[str], list[str]]:
    """The monitored metric, the same metric of the other split, and losses; then all others."""
    same = monitor.partition("/")[2]
    first = [name for name in (monitor, f"valid/{same}", f"train/{same}") if name in metrics]
    losses = [
        f"{split}/{key}"
        for split in ("valid", "train")
        for key in _keys(metrics, split)
        if key.rpartition("/")[2] == "loss"
    ]
    important = list(dict.fromkeys([*first, *losses]))
    others = [name for name in metrics if name not in important]
    return important, [name for name in others if name.rpartition("/")[2] not in OPTIMIZER_KEYS]


def _keys(metrics: Mapping[str, float], split: str) -> list[str]:
    return [name.removeprefix(f"{split}/") for name in metrics if name.startswith(f"{split}/")]
