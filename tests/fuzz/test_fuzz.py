"""A few cases of each fuzzer, which `tools/fuzz` runs for long; and that they find what they are to find."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from fuzzing.case import Case, Wrong, run_case
from fuzzing.mutation import damaged
from fuzzing.sandbox import Sandbox, put

ROOT = Path(__file__).resolve().parents[2]
CASES = {
    "commands": 20,
    "configurations": 15,
    "state": 50,
    "folders": 15,
    "slurm": 15,
    "data": 40,
    "checkpoints": 40,
}
"""So many take a few seconds of CPU time, imports included."""


@pytest.mark.parametrize("area", CASES)
def test_nothing_is_found_in_a_few_cases(area: str):
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "fuzz", ROOT / "tests" / "support")))
    done = subprocess.run(
        [sys.executable, "-m", "fuzzing", "--cases", str(CASES[area]), area],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{area}: {CASES[area]} cases, 0 findings\n"), done.stderr


def crash() -> int:
    raise ValueError("a bug")


def say_two_lines() -> int:
    print("espnet3: a mistake\nwhich is long", file=sys.stderr)
    return 2


def color() -> int:
    print("\x1b[31m")
    return 0


def wait() -> int:
    time.sleep(600)
    return 0


def be_wrong() -> int:
    raise Wrong("a damaged file was taken for good")


def be_killed() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def kill_another() -> int:
    os.kill(os.getppid(), signal.SIGTERM)
    return 0


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        (crash, "traceback: ValueError at ?:? ?"),
        (say_two_lines, "a message that is not one line"),
        (color, "control characters in output"),
        (wait, "hangs at ?:? ?"),
        (be_wrong, "wrong: a damaged file was taken for good"),
        (be_killed, "killed by signal 9"),
        (kill_another, "touches what is not its own, at ?:? ?"),
        (lambda: 3, "exit code 3"),
        (lambda: 75, None),
    ],
)
def test_each_kind_of_fault_is_found(run: Callable[[], int], kind: str | None, tmp_path: Path):
    _, findings = run_case(Case("", run), Sandbox(tmp_path), time_limit_s=2 if run is wait else 60)
    assert [finding.kind for finding in findings] == ([] if kind is None else [kind])


def test_a_case_can_write_only_in_the_sandbox_and_never_over_files_of_others(tmp_path: Path):
    (tmp_path / "precious").write_text("1")
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.add_foreign("home")
    sandbox.keep()
    foreign, own = sandbox.folder / "home" / "foreign.txt", sandbox.folder / "home" / "own.txt"

    def kinds(*, writes: bool, path: Path, act: Callable[[Path], object]) -> list[str]:
        _, findings = run_case(Case("", lambda: bool(act(path)) * 0, writes=writes), sandbox)
        return [finding.kind.partition(", at")[0].partition(" at ")[0] for finding in findings]

    def write(path: Path) -> object:
        return path.write_text("2")

    def move(path: Path) -> object:
        return path.rename(path.with_name("moved"))

    outside = tmp_path / "precious"
    assert kinds(writes=True, path=own, act=write) == []
    assert kinds(writes=False, path=own, act=write) == ["touches what is not its own"]
    assert kinds(writes=True, path=outside, act=write) == ["touches what is not its own"]
    assert kinds(writes=True, path=outside, act=move) == ["touches what is not its own"]
    assert kinds(writes=True, path=tmp_path / "new", act=write) == ["traceback: PermissionError"]
    assert outside.read_text() == "1"
    assert kinds(writes=True, path=foreign, act=move) == ["touches a file"]
    sandbox.restore()
    assert foreign.read_text() == "of home\n" and not own.exists() and not foreign.with_name("moved").exists()


def test_damage_can_be_damaged_again(tmp_path: Path):
    """A generator that fails ends a long run before the areas that come after."""
    path = tmp_path / "file"
    for content in (b"1", None, None, b"2"):
        put(path, content)
        assert path.is_dir() if content is None else path.read_bytes() == content
    random = Random(0)
    for like in (10**400, -(10**400), 2**63, 1e308, float("nan"), "9" * 5000, None, [], {}):
        for _ in range(200):
            damaged(random, {"a": like, "b": [like]}, 3)
