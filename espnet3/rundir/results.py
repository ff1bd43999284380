"""The metrics of several run directories side by side: the table of a recipe's README."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet3.rundir.scores import read_scores, scores_path


@dataclass(frozen=True)
class Measure:
    """A metric of stage 3, and its format in a table."""

    name: str
    """The key in metrics.json."""
    title: str
    show: Callable[[float], str] = "{:.3f}".format


def percent(value: float) -> str:
    """A fraction as a percentage: "4.2 %"."""
    return f"{100 * value:.1f} %"


def results_table(directories: Sequence[Path], measures: Sequence[Measure], *, mean: bool = False) -> str:
    """A Markdown table: a row for each run directory and split or test set, with `mean` also the means.

    A measure that a row lacks, such as one of a package that was not installed, is omitted.
    """
    runs = {directory.name: _metrics(directory) for directory in directories}
    splits = list(dict.fromkeys(split for metrics in runs.values() for split in metrics))
    rows = [
        (tag, split, metrics[split]) for split in splits for tag, metrics in runs.items() if split in metrics
    ]
    shown = [measure for measure in measures if all(measure.name in metrics for _, _, metrics in rows)]
    lines = [["split", "tag", *(measure.title for measure in shown)]]
    lines.append(["---"] * len(lines[0]))
    for split in splits:
        of_split = [(tag, metrics) for tag, own, metrics in rows if own == split]
        if mean:
            names = [measure.name for measure in shown]
            means = {name: sum(metrics[name] for _, metrics in of_split) / len(of_split) for name in names}
            of_split.append(("mean", means))
        for tag, metrics in of_split:
            lines.append([split, tag, *(measure.show(metrics[measure.name]) for measure in shown)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def print_results(exp: Path, measures: Sequence[Measure], *, mean: bool = False) -> None:
    """The table of the tags on the command line, whose run directories are in `exp`."""
    tags = sys.argv[1:]
    available = ", ".join(sorted(path.parent.parent.name for path in exp.glob("*/validate/metrics.json")))
    absent = [tag for tag in tags if not scores_path(exp / tag).is_file()]
    if absent or not tags:
        problem = (
            f"{', '.join(absent)}: no results of stage 3"
            if absent
            else "which tags? results.py TAG [TAG ...]"
        )
        sys.exit(f"{problem}; there are: {available or 'none'}")
    print(results_table([exp / tag for tag in tags], measures, mean=mean))


def _metrics(directory: Path) -> dict[str, dict[str, float]]:
    scores = read_scores(directory)
    return scores.metrics if scores else {}
