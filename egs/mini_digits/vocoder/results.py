"""Print the results of run directories as the table in the README: `python results.py TAG [TAG ...]`."""

import json
import sys
from pathlib import Path

EXP = Path(__file__).resolve().parent / "exp"
MEASURES = {"mel_l1": "mel L1", "stoi": "STOI", "pesq": "PESQ"}


def table(tags: list[str], exp: Path = EXP) -> str:
    """A Markdown table, a row for each tag; PESQ only where every run has it."""
    rows = [_scores(exp / tag) for tag in tags]
    measures = [key for key in MEASURES if all(key in scores for row in rows for scores in row)]
    head = ["tag", *(f"{split} {MEASURES[key]}" for split in ("valid", "test") for key in measures)]
    lines = [head, ["---"] * len(head)]
    for tag, row in zip(tags, rows, strict=True):
        lines.append([tag, *(f"{scores[key]:.3f}" for scores in row for key in measures)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _scores(directory: Path) -> tuple[dict[str, float], dict[str, float]]:
    metrics = json.loads((directory / "validate" / "metrics.json").read_text())
    return metrics["valid"], metrics


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("which run directories? python results.py TAG [TAG ...]")
    print(table(sys.argv[1:]))
