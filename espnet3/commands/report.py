"""`espnet3 report`: a sweep as a page, tables and a picture."""

import argparse
from pathlib import Path
from typing import Any

from espnet3.commands.parser import no_more
from espnet3.errors import UserError, short_path

DESCRIPTION = """\
Write a report on a sweep, as it is now, from its files:
  report.html    works offline: table, heat map, learning curves, failures
  trials.csv     a row for each trial
  report.json    the same and the learning curves
  heat_map.png   the objective over two swept keys (curve.png over a single one)"""
EPILOG = """\
The best trial is the one with the best objective (sweep.objective), of the
valid split; metrics of the test split are only shown.
exit codes: 0; 2 a mistake in the command"""


def add(verbs: Any) -> None:
    """Add the parser to argparse's subparsers."""
    report = verbs.add_parser(
        "report", description=DESCRIPTION, epilog=EPILOG, help="a sweep as a page, tables and a picture"
    )
    report.add_argument("dir", type=Path, metavar="DIR", help="the sweep directory")
    report.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where to write it (default: DIR/report)"
    )
    report.add_argument(
        "--keys",
        metavar="X[,Y]",
        help="the picture's swept keys, also by their short names (default: the first two)",
    )
    report.add_argument("--metric", metavar="NAME", help="the picture's metric (default: the objective)")
    report.add_argument(
        "--over",
        choices=["best", "mean"],
        default="best",
        help="what stands for trials at one place of the picture: the best (default), or the mean",
    )
    report.set_defaults(main=main)


def main(options: argparse.Namespace, rest: list[str]) -> int:
    """Read the sweep, write the files, and name them."""
    no_more(rest)
    from espnet3.report.choice import choose
    from espnet3.report.summary import summary
    from espnet3.report.write import write_report
    from espnet3.sweep.show.results import read_sweep

    directory = options.dir.resolve()
    if not directory.is_dir():
        raise UserError(f"{options.dir}: there is no such directory")
    view = read_sweep(directory)
    choice = choose(view, options.keys.split(",") if options.keys else None, options.metric, options.over)
    written = write_report(view, choice, options.output or directory / "report")
    print("\n".join([summary(view), *(f"  {short_path(path)}" for path in written)]))
    return 0
