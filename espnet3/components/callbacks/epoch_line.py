"""The log line of an epoch: all metrics, the most important ones first, learning rates and speed."""

from collections.abc import Iterable, Mapping

from espnet3.components.modeling.metrics.batch_log import OPTIMIZER_KEYS
from espnet3.number_text import number_text


def epoch_line(
    where: str,
    metrics: Mapping[str, float],
    rates: Mapping[str, float],
    speed: float | None,
    monitor: str = "",
) -> str:
    """As `epoch 3/20: valid wer 0.12 loss 1.23, train loss 1.1, lr 0.002, 612 utterances/s`.

    A terminal folds a long line; a file keeps it whole.

    Args:
        where: the epoch, and the batch inside an epoch.
        metrics: by name, as `valid/wer`.
        rates: the learning rate of each optimizer, by its name; by "" where there is a single, unnamed one.
        speed: utterances per second; None where none was counted.
        monitor: the metric that the best checkpoint is chosen by; it comes first.
    """
    ends = (
        [f"lr {' '.join(f'{name} {number_text(rate, 3)}'.strip() for name, rate in rates.items())}"]
        if rates
        else []
    )
    if speed is not None:
        ends.append(f"{speed:.0f} utterances/s" if speed >= 10 else f"{speed:.2g} utterances/s")
    return _line(where, metrics, _ordered(metrics, monitor), ends)


def _line(where: str, metrics: Mapping[str, float], shown: Iterable[str], ends: Iterable[str]) -> str:
    groups: dict[str, list[str]] = {}
    for name in shown:
        split, _, key = name.partition("/")
        groups.setdefault(split, []).append(f"{key} {number_text(metrics[name], 3)}")
    groups_text = [f"{split} {' '.join(pairs)}" for split, pairs in groups.items()]
    return f"{where}: {', '.join([*groups_text, *ends])}"


def _ordered(metrics: Mapping[str, float], monitor: str) -> list[str]:
    """The monitored metric, the same metric of the other split, and losses; then all others."""
    same = monitor.partition("/")[2]
    first = [name for name in (monitor, f"valid/{same}", f"train/{same}") if name in metrics]
    losses = [
        f"{split}/{key}"
        for split in ("valid", "train")
        for key in _keys(metrics, split)
        if key.rpartition("/")[2] == "loss"
    ]
    important = [*first, *losses]
    others = [name for name in metrics if name.rpartition("/")[2] not in OPTIMIZER_KEYS]
    return list(dict.fromkeys([*important, *others]))


def _keys(metrics: Mapping[str, float], split: str) -> list[str]:
    return [name.removeprefix(f"{split}/") for name in metrics if name.startswith(f"{split}/")]
