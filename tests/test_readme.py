"""The commands of the READMEs, run as they stand, in a copy of the tree that every worker of pytest shares.

Its corpus is smaller and its training shorter than the recipe's own. Commands that build on one another are
one test; the corpus and its statistics are made once for all.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clones import copy_of_tree
from forked_ranks import forked_ranks
from made_once import made_once

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
RECIPE = Path("egs", "mini_digits", "asr")
FIRST = f"{RECIPE}/run.sh"
REPORT = "sweeps/small/report"
SMALLER = {
    "egs/mini_digits/conf/corpus.yaml": {
        "train: 1500, valid: 200, test: 300": "train: 800, valid: 40, test: 60"
    },
    f"{RECIPE}/conf/config.yaml": {
        "max_epochs: 25": "max_epochs: 12",
        "batch_size: 32                     # utterances, on": "batch_size: 16  # utterances, on",
    },
}
"""By file: what stands there, and what does in the copy."""

Run = Callable[[str], str]


def commands(readme: Path) -> list[str]:
    """The lines of its `sh` blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def walk(command: str) -> str:
    """With which others a command belongs together: those that work on the same run directory."""
    if "--multirun" in command or "/sweeps/" in command:
        return "sweeps"
    return next((tag for tag in ("quick", "ranks") if f"tag={tag}" in command), "default")


def lines_of(name: str) -> list[str]:
    """The commands of the README that make up a walk."""
    lines = [line for line in commands(ROOT / "README.md") if not line.startswith("tools/test.sh")]
    return [line for line in lines if walk(line) == name]


@pytest.fixture(scope="module")
def tree(shared_by_workers: Path) -> Path:
    """The copy of the tree, in which every worker runs commands."""
    folder = shared_by_workers / "readme"
    with made_once(folder / "copied") as missing:
        if missing:
            copy_of_tree(ROOT, folder / "tree")
            for name, changes in SMALLER.items():
                text = (folder / "tree" / name).read_text()
                for stands, smaller in changes.items():
                    assert text.count(stands) == 1, f"{name}: {stands}"
                    text = text.replace(stands, smaller)
                (folder / "tree" / name).write_text(text)
    return folder / "tree"


def done(tree: Path, command: str, **environment: str) -> str:
    """Run one command in the environment of the tests; what it printed."""
    bin_directory = Path(sys.executable).parent
    environment = {
        **os.environ,
        "VIRTUAL_ENV": str(bin_directory.parent),
        "PATH": f"{bin_directory}{os.pathsep}{os.environ['PATH']}",
        **environment,
    }
    process = subprocess.run(
        ["bash", "-c", command], cwd=tree, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1200,
    )  # fmt: skip
    assert process.returncode == 0, f"{command}\n{process.stdout}"
    return process.stdout


@pytest.fixture(scope="module")
def run(tree: Path) -> Iterator[Run]:
    """Run one command in the shared copy; what it printed."""
    with forked_ranks(tree) as of_ranks:
        yield lambda command: done(tree, command, **of_ranks)


@pytest.fixture
def exp(tree: Path, run: Run) -> Path:
    """The folder of run directories of the recipe, whose corpus and statistics are there."""
    with made_once(tree.with_name("prepared")) as missing:
        if missing:
            printed = run(f"{FIRST} --stop-stage 1")
            assert (
                "stage 0 prepare: 900 utterances" in printed and "stage 1 collect_stats: 800 train" in printed
            )
    return tree / RECIPE / "exp"


def test_the_first_command_trains_a_recognizer_and_does_nothing_again(exp: Path, run: Run):
    lines = lines_of("default")
    assert lines[0] == lines[1] == FIRST
    first, second, *_ = [run(line) for line in lines]
    error_rate = re.search(r"metrics of \S+: test/token_error_rate = ([0-9.e-]+)", first)
    assert error_rate and float(error_rate[1]) <= 0.10
    for stage in ("0 prepare", "1 collect_stats", "2 train", "3 validate"):
        assert f"stage {stage}: skipped" in second
    for name in ("config.yaml", "run.json", "checkpoints/last.ckpt", "csv/metrics.csv", "tensorboard"):
        assert (exp / "default" / name).exists(), name
    for name in ("metrics.json", "learning_curve.png"):
        assert (exp / "default" / "validate" / name).exists(), name


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("quick", ["quick/validate/metrics.json"]),
        ("ranks", ["ranks/checkpoints/last.ckpt"]),
        (
            "sweeps",
            [f"sweeps/small/report/{n}" for n in ("report.html", "trials.csv", "report.json", "curve.png")],
        ),
    ],
)
def test_further_commands_work_one_after_the_other(exp: Path, run: Run, name: str, made: list[str]):
    lines = lines_of(name)
    assert lines
    for line in lines:
        run(line)
    for file in made:
        assert (exp / file).exists(), file


def test_the_python_of_the_readme_works(tree: Path, run: Run):
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    (tree / "program.py").write_text(program)
    printed = run("python program.py").splitlines()
    assert float(printed[0]) > 0.5
    assert [line.split()[1] for line in printed[1:3]] == ["done", "done"]
    assert printed[3].startswith(str(tree / "egs" / "TEMPLATE" / "exp" / "sweeps" / "rates" / "trials"))


def test_the_commands_of_the_template_make_a_recipe_that_trains(clone: Path):
    copy, train = commands(ROOT / "egs" / "TEMPLATE" / "README.md")
    done(clone, copy)
    output = done(clone, train)
    accuracy = re.search(r"test/accuracy = ([0-9.]+)", output)
    assert accuracy and float(accuracy[1]) > 0.9, output
    assert "stage 3 validate: skipped" in done(clone, train)
