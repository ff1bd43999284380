"""What is built holds all that the package reads at run time, and runs recipes without the clone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


def output_of(*command: str | Path, **options) -> str:
    """What a command prints, which must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False, **options,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of this working tree."""
    directory = tmp_path_factory.mktemp("wheel")
    output_of(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", directory, ROOT)
    (built,) = directory.glob("espnet3-*.whl")
    return built


def test_the_wheel_holds_configuration_and_the_page_of_the_report(wheel: Path):
    hold_directory = set(zipfile.ZipFile(wheel).namelist())
    package = {f"espnet3/{path.relative_to(ROOT / 'espnet3')}" for path in (ROOT / "espnet3").rglob("*.*")}
    shared = {f"espnet3/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    missing = {name for name in package | shared if "__pycache__" not in name} - hold_directory
    assert missing == set()
    pages = [name for name in hold_directory if name.endswith("/web/page.html")]
    assert len(pages) == 1 and "espnet3/conf/base.yaml" in hold_directory


def test_an_installed_wheel_runs_a_copied_recipe_in_a_path_with_a_blank(wheel: Path, tmp_path: Path):
    environment, recipe = tmp_path / "an environment", tmp_path / "my recipes" / "corpus" / "tones"
    venv.create(environment, symlinks=True, with_pip=False)
    python = environment / "bin" / "python"
    purelib = Path(output_of(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # Its dependencies are those of the environment that runs the tests, but not the clone, installed there
    # by a .pth: Python reads none of a folder that another .pth names.
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", python, "install")
    output_of(*pip, "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel)
    shutil.copytree(
        ROOT / "egs" / "TEMPLATE", recipe, ignore=shutil.ignore_patterns("exp", "data", "__pycache__")
    )
    installed = {
        "env": {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        | {"VIRTUAL_ENV": str(environment), "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        "cwd": tmp_path,
    }

    where = Path(output_of("python", "-c", "import espnet3; print(espnet3.__file__)", **installed).strip())
    assert where.is_relative_to(environment)
    printed = output_of(recipe / "run.sh", "trainer.max_epochs=1", **installed)
    assert "test/accuracy = " in printed
    assert (recipe / "exp" / "default" / "validate" / "metrics.json").exists()
    assert "train" in output_of("espnet3", "status", recipe / "exp" / "default", **installed)
