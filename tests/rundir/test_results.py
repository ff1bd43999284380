"""The table of results: a row for each run directory, as the READMEs of recipes show it."""

import subprocess
import sys
from pathlib import Path

import pytest

from espnet3.rundir.results import Measure, percent, results_table
from espnet3.rundir.scores import Scores, write_scores

ROOT = Path(__file__).resolve().parents[2]
MEASURES = (Measure("mel_l1", "mel L1"), Measure("rate", "error", percent), Measure("pesq", "PESQ"))


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    for tag, shift in (("first", 0.0), ("default", 0.25)):
        scores = {"mel_l1": 0.75 - shift, "rate": 0.5 + shift, **({"pesq": 3.0} if shift else {})}
        (tmp_path / tag / "validate").mkdir(parents=True)
        of_splits = {"valid": {**scores, "mel_l1": 0.5}, "test_clean": scores}
        write_scores(tmp_path / tag, Scores("x", "y", of_splits))
    return tmp_path


def test_it_has_the_measures_that_every_run_has_and_perhaps_their_means(exp: Path):
    directories = [exp / "first", exp / "default"]
    table = [
        "| split | tag | mel L1 | error |",
        "| --- | --- | --- | --- |",
        "| valid | first | 0.500 | 50.0 % |",
        "| valid | default | 0.500 | 75.0 % |",
        "| test_clean | first | 0.750 | 50.0 % |",
        "| test_clean | default | 0.500 | 75.0 % |",
    ]
    assert results_table(directories, MEASURES).splitlines() == table
    means = ["| valid | mean | 0.500 | 62.5 % |", "| test_clean | mean | 0.625 | 62.5 % |"]
    with_means = results_table(directories, MEASURES, mean=True).splitlines()
    assert [line for line in with_means if line not in table] == means
    assert "PESQ" in results_table(directories[1:], MEASURES)


@pytest.mark.parametrize(("tags", "message"), [([], "which tags?"), (["no_such"], "no_such: no results of")])
@pytest.mark.parametrize("recipe", ["asr", "vocoder"])
def test_a_recipes_command_says_which_tags_there_are(recipe: str, tags: list[str], message: str):
    script = ROOT / "egs" / "mini_digits" / recipe / "results.py"
    done = subprocess.run([sys.executable, script, *tags], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and message in done.stderr and "there are: " in done.stderr
