"""The bench of named optimizers runs, checks that its competitors agree, and prints the README's table."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = ["1,32,4,2", "2,32,4,1", "single,32,4,1"]


@pytest.mark.slow
def test_the_table_has_a_row_for_each_case():
    command = [sys.executable, ROOT / "tools/bench/named_optimizers.py", "--quick", "--rounds", "1"]
    done = subprocess.run([*command, "--case", *CASES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    head, line, *rows = done.stdout.splitlines()
    assert head in (ROOT / "README.md").read_text(), "the README has such a table"
    assert line.count("|") == head.count("|") == 9
    number = r"\d+\.\d\d"
    for case, row in zip(CASES, rows, strict=True):
        sizes = " \\| ".join(case.split(","))
        ratios = rf"{number} \| {number} \| {number}" if "single" not in case else rf"{number} \|  \| "
        assert re.fullmatch(rf"\| {sizes} \| {number} \| {ratios} \|", row), row
