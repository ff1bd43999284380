"""The contents of a figure: its metric, its swept keys, and how trials in a cell are combined."""

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
    """Labels of the other swept keys."""

    @property
    def to_scale(self) -> bool:
        """Whether there are too many values for cells, so that each trial is a point."""
        return self.y is not None and (self.x.to_scale or self.y.to_scale)


def choose(
    view: SweepView, keys: Sequence[str] | None = None, metric: str | None = None, over: Over = "best"
) -> Choice | None:
    """The metric and keys, by default the objective over the first two keys; None if nothing is swept.

    Raises:
        UserError: an unknown key or metric, or not one or two keys.
    """
    all_axes = axes(view)
    names = metric_names(view)
    if metric is not None and metric not in names:
        raise UserError(f"--metric {metric}: {_unknown_name(metric, names, 'metric')}")
    if not all_axes:
        if keys:
            raise UserError(f"--keys {','.join(keys)}: {view.directory} sweeps no key")
        return None
    selected = [_axis(key, all_axes) for key in keys] if keys else all_axes[:2]
    if len(selected) > 2 or len({axis.key for axis in selected}) < len(selected):
        raise UserError(f"--keys {','.join(keys or ())}: takes one key, or two different ones")
    return Choice(
        metric=metric or view.objective,
        x=selected[0],
        y=selected[1] if len(selected) > 1 else None,
        over=over,
        others=[axis.label for axis in all_axes if axis not in selected],
    )


def _axis(key: str, all_axes: list[Axis]) -> Axis:
    for axis in all_axes:
        if key in (axis.key, axis.label):
            return axis
    raise UserError(f"--keys {key}: {_unknown_name(key, [axis.label for axis in all_axes], 'swept key')}")


def _unknown_name(name: str, names: Sequence[str], what: str) -> str:
    hint = suggestion(name, names, otherwise=f"there are {', '.join(names)}")
    return f"there is no such {what}; {hint}"
