"""The set-up scripts, in the environment that runs the tests."""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def call(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(TOOLS / command[0]), *command[1:]],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_the_active_environment_is_used_where_espnet3_imports():
    bin_directory = Path(sys.executable).parent
    path = f"{bin_directory}{os.pathsep}{os.environ['PATH']}"
    done = call("python.sh", VIRTUAL_ENV=str(bin_directory.parent), PATH=path)
    assert done.returncode == 0
    assert done.stdout.strip() == str(bin_directory / "python")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("install.sh", "--troch"), "--troch: unknown option"),
        (("install.sh", "--torch"), "needs a build"),
        (("install.sh", "--torch", "gpu"), "cpu or cu"),
        (("lint.sh", "--fux"), "--fux: unknown option"),
    ],
)
def test_a_wrong_option_is_named_with_exit_code_2(arguments: tuple, said: str):
    done = call(*arguments)
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", ["install.sh", "lint.sh", "test.sh", "chromium.sh"])
def test_help_is_the_comment_at_the_top(script: str):
    done = call(script, "--help")
    assert done.returncode == 0
    assert f"tools/{script}" in done.stdout and "set -euo" not in done.stdout


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((TOOLS.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    found = map(Requirement, [*project["dependencies"], *(one for extra in extras for one in extra)])
    return {canonicalize_name(one.name): one for one in found if one.name != "espnet3"}


def versions(lines: str) -> dict[str, str]:
    pairs = [line.split("==") for line in lines.splitlines() if "==" in line]
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_dependency_is_pinned_at_a_version_that_is_allowed():
    pinned = versions((TOOLS / "constraints.txt").read_text())
    assert [str(one) for name, one in requirements().items() if pinned.get(name) not in one.specifier] == []


def test_the_lowest_versions_are_allowed_and_none_below_them():
    script = [sys.executable, str(TOOLS / "lowest_versions.py")]
    lowest = versions(subprocess.run(script, capture_output=True, text=True, check=True).stdout)
    assert lowest.keys() == requirements().keys()
    for name, one in requirements().items():
        assert lowest[name] in one.specifier
        assert name == "torch" or f">={lowest[name]}" in str(one.specifier)


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """A clone whose scripts only write down that they were called, and how."""
    tools = tmp_path / "tools"
    (tools / "slurm").mkdir(parents=True)
    shutil.copy(TOOLS / "test.sh", tools)
    called = tmp_path / "called"
    for name in ("install.sh", "chromium.sh", "slurm/cluster", "pytest"):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "{called}"\n')
        (tools / name).chmod(0o755)
    (tools / "python.sh").write_text(f'#!/bin/sh\necho "{tools}/pytest"\n')
    (tools / "python.sh").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "handed_over"),
    [
        (("tests/config", "-x"), "tests/config -x"),
        (("--quick",), "-m not slow"),
        (("tests/slurm",), "tests/slurm"),  # the fixtures of these tests see to Slurm
        ((), ""),
    ],
)
def test_the_tests_are_run_with_no_set_up_but_pythons(stubs: Path, arguments: tuple, handed_over: str):
    subprocess.run([str(stubs / "tools" / "test.sh"), *arguments], check=True)
    first, last = (stubs / "called").read_text().splitlines()
    assert first == "install.sh --dev"
    assert last.startswith("pytest -m pytest ") and last.rstrip().endswith(handed_over)


PIP_STUB = """#!/bin/sh
[ "$2" = pip ] || exec {python} "$@"
echo "$PIP_CONSTRAINT" > pip.called
echo "$PIP_USER,$PIP_TARGET" > pip.user
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in a path with a blank, whose pip only writes down its constraints."""
    clone = tmp_path / "a clone"
    shutil.copytree(TOOLS, clone / "tools", ignore=shutil.ignore_patterns("slurm", "bench", "__pycache__"))
    shutil.copy(TOOLS.parent / "pyproject.toml", clone)
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP_STUB.format(python=sys.executable))
    python.chmod(0o755)
    return clone


def installed(
    clone: Path, script: str = "install.sh", **environment: str
) -> "subprocess.CompletedProcess[str]":
    clean = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    return subprocess.run(
        [str(clone / "tools" / script)], capture_output=True, text=True, env={**clean, **environment}
    )


def test_constraints_in_a_path_with_a_blank_reach_pip_as_one_address(clone: Path):
    done = installed(clone)
    assert done.returncode == 0 and done.stdout.endswith("installed\n"), done.stderr
    address = (clone / "pip.called").read_text().strip()
    assert address == (clone / ".venv" / ".espnet3-constraints.txt").as_uri() and " " not in address


def test_what_a_shell_tells_pip_about_the_place_is_not_heard(clone: Path):
    assert installed(clone, PIP_USER="1", PIP_TARGET="/elsewhere").returncode == 0
    assert (clone / "pip.user").read_text() == "0,\n"


def test_an_active_environment_without_espnet3_is_named(clone: Path):
    done = installed(clone, "python.sh", VIRTUAL_ENV="/some/where", PATH="/usr/bin:/bin")
    assert done.stdout.strip() == str(clone / ".venv" / "bin" / "python")
    assert f"/some/where has no espnet3: using {clone}/.venv" in done.stderr


def test_a_moved_environment_has_the_new_path_in_activate_and_in_scripts(tmp_path: Path):
    venv.create(tmp_path / "old", symlinks=True)
    script = tmp_path / "old" / "bin" / "tool"
    script.write_text(f"#!{tmp_path}/old/bin/python\nimport sys\nprint(sys.prefix)\n")
    script.chmod(0o755)
    for name in ("moved to", "again"):
        moved = tmp_path / name
        script.parents[1].rename(moved)
        script = moved / "bin" / "tool"
        subprocess.run([moved / "bin" / "python", TOOLS / "moved_environment.py", moved], check=True)
        said = subprocess.run([script], capture_output=True, text=True, check=True).stdout
        assert said.strip() == str(moved)
        assert str(moved) in (moved / "bin" / "activate").read_text()
