"""A colleague sees what permissions allow, and is told the rest."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "rundir" / "golden" / "format-1" / "exp"
CAPABILITIES = "-dac_override,-dac_read_search"
UNPRIVILEGED = (
    ["setpriv", f"--bounding-set={CAPABILITIES}", f"--inh-caps={CAPABILITIES}"] if os.geteuid() == 0 else []
)
"""Before a command: root reads everything."""


def espnet3(*words: str | Path) -> tuple[int, str, list[str]]:
    """Exit code, standard output, and the lines of standard error."""
    command = [*UNPRIVILEGED, sys.executable, "-m", "espnet3", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    """Run directories, of which `closed` can't be read, and a sweep."""
    exp = tmp_path / "exp"
    shutil.copytree(GOLDEN, exp)
    shutil.copytree(exp / "default", exp / "closed")
    for attempt in (exp / "default" / "attempts").iterdir():
        attempt.chmod(0)  # as for anybody but who runs it
    (exp / "closed").chmod(0)
    yield exp
    for path in [exp, exp / "closed", *(exp / "default" / "attempts").iterdir()]:
        path.chmod(0o700)


@pytest.mark.slow
def test_what_can_be_read_is_shown_and_the_rest_is_named(exp: Path):
    code, out, _ = espnet3("status", exp / "default", exp / "closed")
    assert code == 1 and "done" in out
    assert (
        "default is shown in part: can't read " in out and "begin.json: Permission denied (and 3 more)" in out
    )
    assert "closed is not shown: can't read " in out
    code, out, _ = espnet3("status", "--json", exp / "default", exp / "closed")
    shown = json.loads(out)
    assert [run["state"] for run in shown["runs"]] == ["done"] and len(shown["runs"][0]["unreadable"]) == 4
    assert [Path(run).name for run in shown["unreadable"]] == ["closed"]

    code, out, error = espnet3("logs", exp / "default", "--stage", "train")
    assert (
        code == 0
        and out.startswith("==> ")
        and "begin.json: Permission denied; this is the newest log" in error[0]
    )
    for verb in ("logs", "status", "resume", "cancel"):
        code, out, error = espnet3(verb, exp / "closed")
        assert (code, out, len(error)) == (2, "", 1) or (verb == "logs" and code == 1), (
            verb,
            code,
            out,
            error,
        )
        assert "closed" in error[0] and error[0].endswith("Permission denied")
    code, out, error = espnet3("resume", exp / "default")  # what is not known might run
    assert (code, len(error)) == (2, 1) and "can't read" in error[0]


@pytest.mark.slow
def test_a_sweep_shows_the_trials_that_can_be_read(exp: Path):
    sweep = exp / "sweeps" / "default"
    trial, *_ = sorted((sweep / "trials").iterdir())
    (trial / "stages").chmod(0)
    code, out, error = espnet3("status", sweep)
    assert (code, error) == (0, []) and "unreadable" in out and "Permission denied" in out
    code, out, error = espnet3("report", sweep, "--output", sweep / "report")
    assert (code, error) == (0, []) and "1 unreadable" in out
    (trial / "stages").chmod(0o700)
    sweep.chmod(0)
    for verb in ("status", "report", "logs", "resume"):
        code, out, error = espnet3(verb, sweep)
        assert code in (1, 2) and out == "" and len(error) == 1 and "Permission denied" in error[0], (
            verb,
            error,
        )
    sweep.chmod(0o700)
