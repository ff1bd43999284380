"""Print the results of run directories as the table in the README: `python results.py seed1 seed2 seed3`."""

import json
import sys
from pathlib import Path

EXP = Path(__file__).resolve().parent / "exp"
RATES = ("token_error_rate", "utterance_error_rate")


def table(tags: list[str], exp: Path = EXP) -> str:
    """A Markdown table of error rates in percent, a row for each tag, and their mean."""
    rows = [_rates(exp / tag) for tag in tags]
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    head = ["tag", *(f"{split} {rate.split('_')[0]} error" for split in ("valid", "test") for rate in RATES)]
    lines = [head, ["---"] * len(head)]
    for tag, rates in [*zip(tags, rows, strict=True), ("mean", means)]:
        lines.append([tag, *(f"{100 * rate:.1f} %" for rate in rates)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _rates(directory: Path) -> list[float]:
    metrics = json.loads((directory / "validate" / "metrics.json").read_text())
    return [scores[rate] for scores in (metrics["valid"], metrics) for rate in RATES]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("which run directories? python results.py TAG [TAG ...]")
    print(table(sys.argv[1:]))
