"""The metrics of several run directories side by side: the table of a recipe's README."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("valid", "test")


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
    """A Markdown table of valid and test metrics: a row for each run directory, with `mean` one of the means.

    A measure that a run lacks, such as one of a package that was not installed, is omitted.
    """
    runs = [_scores(directory) for directory in directories]
    shown = [m for m in measures if all(m.name in scores for run in runs for scores in run)]
    rows = [[scores[measure.name] for scores in run for measure in shown] for run in runs]
    names = [directory.name for directory in directories]
    if mean:
        names.append("mean")
        rows.append([sum(column) / len(column) for column in zip(*rows, strict=True)])
    shows = [measure.show for _ in SPLITS for measure in shown]
    head = ["tag", *(f"{split} {measure.title}" for split in SPLITS for measure in shown)]
    lines = [head, ["---"] * len(head)]
    for name, row in zip(names, rows, strict=True):
        lines.append([name, *(show(value) for show, value in zip(shows, row, strict=True))])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def print_results(exp: Path, measures: Sequence[Measure], *, mean: bool = False) -> None:
    """The table of the tags on the command line, whose run directories are in `exp`."""
    tags = sys.argv[1:]
    available = ", ".join(sorted(path.parent.parent.name for path in exp.glob("*/validate/metrics.json")))
    absent = [tag for tag in tags if not (exp / tag / "validate" / "metrics.json").is_file()]
    if absent or not tags:
        problem = (
            f"{', '.join(absent)}: no results of stage 3"
            if absent
            else "which tags? results.py TAG [TAG ...]"
        )
        sys.exit(f"{problem}; there are: {available or 'none'}")
    print(results_table([exp / tag for tag in tags], measures, mean=mean))


def _scores(directory: Path) -> list[dict[str, float]]:
    """The metrics of valid, then of test; the latter are at the top level."""
    metrics = json.loads((directory / "validate" / "metrics.json").read_text(encoding="utf-8"))
    return [metrics["valid"], metrics]
