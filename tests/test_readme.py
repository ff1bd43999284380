"""The commands of the READMEs, run as they stand, in a copy of the tree."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def commands(readme: Path) -> list[str]:
    """The lines of its `sh` blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def run(clone: Path, command: str) -> str:
    """Run one command in the environment of the tests; what it printed."""
    bin_directory = Path(sys.executable).parent
    environment = {
        **os.environ,
        "VIRTUAL_ENV": str(bin_directory.parent),
        "PATH": f"{bin_directory}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-c", command], cwd=clone, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.mark.slow
def test_the_commands_of_the_readme_work_one_after_the_other(clone: Path):
    lines = [line for line in commands(ROOT / "README.md") if not line.startswith("tools/test.sh")]
    printed = [run(clone, line) for line in lines]
    first, second = printed[:2]
    assert lines[0] == lines[1] == "egs/mini_digits/asr/run.sh"
    error_rate = re.search(r"metrics of \S+: test/token_error_rate = ([0-9.e-]+)", first)
    assert error_rate and float(error_rate[1]) <= 0.10
    for stage in ("0 prepare", "1 collect_stats", "2 train", "3 validate"):
        assert f"stage {stage}: skipped" in second
    exp = clone / "egs" / "mini_digits" / "asr" / "exp"
    for name in ("config.yaml", "run.json", "checkpoints/last.ckpt", "csv/metrics.csv", "tensorboard"):
        assert (exp / "default" / name).exists(), name
    for name in ("metrics.json", "learning_curve.png"):
        assert (exp / "default" / "validate" / name).exists(), name
    assert (exp / "quick" / "validate" / "metrics.json").exists()
    assert (exp / "ranks" / "checkpoints" / "last.ckpt").exists()
    for name in ("report.html", "trials.csv", "report.json", "curve.png"):
        assert (exp / "sweeps" / "small" / "report" / name).exists(), name


@pytest.mark.slow
def test_the_python_of_the_readme_works(clone: Path):
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    (clone / "program.py").write_text(program)
    printed = run(clone, "python program.py").splitlines()
    assert float(printed[0]) > 0.5
    assert [line.split()[1] for line in printed[1:3]] == ["done", "done"]
    assert printed[3].startswith(str(clone / "egs" / "TEMPLATE" / "exp" / "sweeps" / "rates" / "trials"))


@pytest.mark.slow
def test_the_commands_of_the_template_make_a_recipe_that_trains(clone: Path):
    copy, train = commands(ROOT / "egs" / "TEMPLATE" / "README.md")
    run(clone, copy)
    output = run(clone, train)
    accuracy = re.search(r"test/accuracy = ([0-9.]+)", output)
    assert accuracy and float(accuracy[1]) > 0.9, output
    assert "stage 3 validate: skipped" in run(clone, train)
