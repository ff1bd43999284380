"""`espnet3 report` on a real sweep: two trainings on this machine, of which one fails."""

import csv
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BUG = """\
        if self.training and self.classify.in_features == 13:
            raise ArithmeticError("a <b>bug</b>")
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """The sweep's directory; made once."""
    root = Path(__file__).resolve().parents[2]
    recipe = tmp_path_factory.mktemp("egs") / "mine"
    shutil.copytree(root / "egs" / "TEMPLATE", recipe, ignore=shutil.ignore_patterns("exp", "data"))
    model, before = recipe / "model.py", "        collected = self.collect_feats(speech, speech_lengths)\n"
    model.write_text(model.read_text().replace(before, BUG + before))
    swept = ("model.channels=8,13", "trainer.max_epochs=2")
    done = espnet3("run", "--recipe", str(recipe), "--multirun", *swept)
    assert done.returncode == 1, done.stdout
    (found,) = (recipe / "exp").glob("sweeps/*")
    return found


def espnet3(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "espnet3", *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )


def test_the_report_tells_what_the_trials_came_to(sweep: Path):
    done = espnet3("report", sweep.name, cwd=sweep.parent)
    assert done.returncode == 0, done.stdout
    told, *files = done.stdout.splitlines()
    assert told.startswith("2 trials: 1 done, 1 failed; best valid/loss ")
    assert [Path(line.strip()).name for line in files] == [
        "report.html",
        "trials.csv",
        "report.json",
        "curve.png",
    ]
    assert all((sweep.parent / line.strip()).stat().st_size > 300 for line in files)
    rows = list(csv.DictReader((sweep / "report" / "trials.csv").open()))
    good, bad = sorted(rows, key=lambda row: row["state"])
    assert (good["state"], bad["state"]) == ("done", "failed")
    assert good["model.channels"] == "8" and good["best"] == "1" and float(good["valid/loss"]) > 0
    assert 0 < float(good["trained"]) < 1 and bad["trained"] == "", "it failed in its first batch"
    assert (sweep / good["directory"] / "checkpoints").is_dir()
    trials = {
        trial["state"]: trial
        for trial in json.loads((sweep / "report" / "report.json").read_text())["trials"]
    }
    assert len(trials["done"]["curves"]["valid/loss"]) == 2
    assert "ArithmeticError: a <b>bug</b>" in trials["failed"]["traceback"]


def test_its_page_opens_in_a_browser(sweep: Path, open_page):
    espnet3("report", str(sweep))
    page = open_page(sweep / "report" / "report.html").page
    assert page.locator("#trials tbody tr").count() == 2
    page.locator("#failures summary").click()
    assert "ArithmeticError: a <b>bug</b>" in page.locator("#failures pre").inner_text()
    assert "model.channels=8" in page.locator("#best code").inner_text()


def test_the_best_trials_command_reproduces_it(sweep: Path):
    """The command on the page, run as it stands, gives the same numbers in a run directory of its own."""
    espnet3("report", str(sweep))
    read = json.loads((sweep / "report" / "report.json").read_text())
    best = next(trial for trial in read["trials"] if trial["name"] == read["best"])
    words = shlex.split(best["command"])
    recipe = sweep.parents[2]
    done = espnet3("run", "--recipe", str(recipe), *words[1:])
    assert done.returncode == 0, done.stdout
    tag = next(word.removeprefix("tag=") for word in words if word.startswith("tag="))
    metrics = json.loads((recipe / "exp" / tag / "validate" / "metrics.json").read_text())
    assert metrics["metrics"]["test"]["accuracy"] == best["metrics"]["test/accuracy"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nowhere: there is no such directory"),
        ((".",), "holds no sweep"),
        (("{sweep}", "--keys", "model.channel"), "did you mean"),
        (("{sweep}", "--metric", "valid/lss"), "did you mean valid/loss?"),
        (("{sweep}", "--wide"), "--wide: there is no such flag"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(sweep: Path, tmp_path: Path, words, said: str):
    output = tmp_path / "report"
    filled = [word.format(sweep=sweep) for word in words]
    done = espnet3("report", *filled, "--output", str(output), cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stdout and done.stdout.count("\n") == 1
    assert not output.exists()
