"""`espnet3 report`: write a report on a sweep: a page, tables and a picture."""

import argparse
from pathlib import Path
from typing import Any

from espnet3.commands.parser import refuse_extra_arguments
from espnet3.errors import UserError, directory_problem, short_path

DESCRIPTION = """\
Write a report on the current state of a sweep:
  report.html    works offline: table, heat map, learning curves, failures
  trials.csv     a row for each trial
  report.json    the same with learning curves
  heat_map.png   the objective over two swept keys (curve.png for one key)"""
EPILOG = """\
The best trial has the best objective (sweep.objective), a metric of the valid
split; metrics of the test split are only shown.
exit codes: 0; 2 a mistake in the command"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    report = verbs.add_parser(
        "report", description=DESCRIPTION, epilog=EPILOG, help="write a report on a sweep"
    )
    report.add_argument("dir", type=Path, metavar="DIR", help="the sweep directory")
    report.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where to write it (default: DIR/report)"
    )
    report.add_argument(
        "--keys",
        metavar="X[,Y]",
        help="swept keys of the picture, in full or short (default: the first two)",
    )
    report.add_argument("--metric", metavar="NAME", help="metric of the picture (default: the objective)")
    report.add_argument(
        "--over",
        choices=["best", "mean"],
        default="best",
        help="combine several trials in a cell by the best (default) or the mean",
    )
    report.set_defaults(main=main)


def main(options: argparse.Namespace, rest: list[str]) -> int:
    """Read the sweep, write the files, and print their paths."""
    refuse_extra_arguments(rest, options)
    from espnet3.report.choice import choose
    from espnet3.report.summary import summary
    from espnet3.report.write import write_report
    from espnet3.sweep.show.results import read_sweep

    directory = options.dir.resolve()
    if directory_problem(directory):
        raise UserError(f"{options.dir}: {directory_problem(options.dir)}")
    view = read_sweep(directory)
    choice = choose(view, options.keys.split(",") if options.keys else None, options.metric, options.over)
    written = write_report(view, choice, options.output or directory / "report")
    print("\n".join([summary(view), *(f"  {short_path(path)}" for path in written)]))
    return 0
