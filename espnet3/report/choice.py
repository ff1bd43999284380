"""What a figure shows: which metric over which swept keys, and what stands for trials that meet."""

from collections.abc import Sequence
from dataclasses import dataclass

from espnet3.errors import UserError, suggestion
from espnet3.report.axes import Axis, axes
from espnet3.report.cells import Over, metric_names
from espnet3.sweep.show.view import SweepView


@dataclass(frozen=True)
class Choice:
    """The metric over `x` and `y`, or over `x` alone."""

    metric: str
    x: Axis
    y: Axis | None
    over: Over
    others: list[str]
    """Labels of the keys that are swept too."""

    @property
    def to_scale(self) -> bool:
        """Too many values for cells: each trial is a point."""
        return self.y is not None and (self.x.to_scale or self.y.to_scale)


def choose(
    view: SweepView, keys: Sequence[str] | None = None, metric: str | None = None, over: Over = "best"
) -> Choice | None:
    """The objective over the first two keys, unless told otherwise; None where nothing is swept.

    Raises:
        UserError: there is no such key or metric, or it is not one or two keys.
    """
    found = axes(view)
    names = metric_names(view)
    if metric is not None and metric not in names:
        raise UserError(f"--metric {metric}: {_known(metric, names, 'metric')}")
    if not found:
        if keys:
            raise UserError(f"--keys {','.join(keys)}: {view.directory} sweeps no key")
        return None
    chosen = [_axis(key, found) for key in keys] if keys else found[:2]
    if len(chosen) > 2 or len({axis.key for axis in chosen}) < len(chosen):
        raise UserError(f"--keys {','.join(keys or ())}: takes one key, or two different ones")
    return Choice(
        metric=metric or view.objective,
        x=chosen[0],
        y=chosen[1] if len(chosen) > 1 else None,
        over=over,
        others=[axis.label for axis in found if axis not in chosen],
    )


def _axis(key: str, found: list[Axis]) -> Axis:
    for axis in found:
        if key in (axis.key, axis.label):
            return axis
    raise UserError(f"--keys {key}: {_known(key, [axis.label for axis in found], 'swept key')}")


def _known(name: str, names: Sequence[str], what: str) -> str:
    hint = suggestion(name, names, otherwise=f"there are {', '.join(names)}")
    return f"there is no such {what}; {hint}"
