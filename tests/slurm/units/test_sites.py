"""Each row of the table of sites is held by a test that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SITES = ROOT / "espnet3" / "slurm" / "SITES.md"
ROWS = [line for line in SITES.read_text().splitlines() if re.match(r"\| (?!site \|)[^-]", line)]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_says_what_happens_and_names_its_tests(row: str):
    site, happens, tests = (cell.strip() for cell in row.strip("|").split(" | "))
    assert site and happens
    names = re.findall(r"`(test_\w+)`", tests)
    assert names
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in names if f"def {name}(" not in sources] == []


def test_the_table_is_linked_from_the_architecture():
    assert len(ROWS) >= 10 and "(slurm/SITES.md)" in (ROOT / "espnet3" / "README.md").read_text()
