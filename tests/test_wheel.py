"""What is built for an installation elsewhere holds all that the package reads at run time."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_holds_configuration_and_the_page_of_the_report(tmp_path: Path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path)]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("espnet3-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    package = {f"espnet3/{path.relative_to(ROOT / 'espnet3')}" for path in (ROOT / "espnet3").rglob("*.*")}
    shared = {f"espnet3/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    missing = {name for name in package | shared if "__pycache__" not in name} - held
    assert missing == set()
    assert {"espnet3/report/web/page.html", "espnet3/conf/base.yaml"} <= held
