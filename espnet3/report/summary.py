"""A sweep in one line."""

from collections import Counter

from espnet3.number_text import counted, number_text
from espnet3.report.axes import axes
from espnet3.sweep.show.view import SweepView


def summary(view: SweepView) -> str:
    """`6 trials: 5 done, 1 failed; best valid/loss 0.405 by generator.lr=4e-4 discriminator.lr=1e-4`."""
    states = Counter(trial.state for trial in view.trials)
    line = counted(len(view.trials), "trial")
    if states:
        line += ": " + ", ".join(f"{number:,} {state}" for state, number in states.most_common())
    for index, trial in enumerate(view.trials):
        if trial.name == view.best and trial.objective is not None:
            values = [
                f"{axis.label}={axis.texts[axis.positions[index]]}"
                for axis in axes(view)
                if axis.positions[index] >= 0
            ]
            value = number_text(trial.objective, 4)
            return f"{line}; best {view.objective} {value}{' by ' * bool(values)}{' '.join(values)}"
    return f"{line}; none has a {view.objective} yet"
