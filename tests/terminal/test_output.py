"""What becomes of a command whose output is not read, or can't be shown as it is."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PRINTS = """
import sys
from espnet3.terminal.output import keep_output
keep_output()
print("✓ 5 → 6 … Ä 語 \\udcff")
print("µ", file=sys.stderr)
"""


@contextmanager
def piped(recipe: Path, script: str) -> Iterator[subprocess.Popen[str]]:
    """A script of bash, as in a terminal of its own; $RUN is the command, and its code goes to code."""
    run = f"{sys.executable} -m espnet3 run --recipe {recipe} --stop-stage 0"
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=recipe,
        env={**os.environ, "RUN": run},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_ctrl_c_saves_although_what_reads_the_output_ends_by_it(
    small_recipe: Path, until: Callable[[Callable[[], object], str], None]
):
    # The shell of a terminal waits for the pipe; its own code here would be tee's.
    script = (
        'trap : INT; $RUN prepare.mode=wait 2>&1 | (trap - INT; exec tee log); echo "${PIPESTATUS[0]}" > code'
    )
    with piped(small_recipe, script) as process:
        until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=300)
    assert (small_recipe / "code").read_text() == "75\n"
    assert (small_recipe / "data" / "saved").exists()
    assert "Traceback" not in (small_recipe / "log").read_text()


@pytest.mark.parametrize(
    ("end", "code"),
    [("| true", "0"), ("2>&1 | true", "0"), (">&-", "0"), (">&- 2>&- <&-", "0"), ("> /dev/full", "1")],
)
def test_a_run_whose_output_is_closed_runs_to_its_end(small_recipe: Path, end: str, code: str):
    with piped(small_recipe, f'{{ $RUN; echo "$?" > code; }} {end}') as process:
        output, _ = process.communicate(timeout=300)
    assert ((small_recipe / "code").read_text(), "Traceback" in output) == (f"{code}\n", False)
    assert (small_recipe / "data" / "train.jsonl").exists()
    assert "Exception ignored" not in output
    assert ("No space left on device" in output) == (code == "1")


@pytest.mark.parametrize(
    ("verb", "code"), [("status --watch", "141"), ("status", "0"), ("status --json", "0"), ("logs", "0")]
)
def test_a_command_that_only_follows_ends_without_a_reader(small_recipe: Path, run, verb: str, code: str):
    assert run(small_recipe, "--stop-stage", "0")[0] == 0
    command = f"{sys.executable} -m espnet3 {verb} exp/default"
    with piped(small_recipe, f'{{ {command}; echo "$?" > code; }} | true') as process:
        output, _ = process.communicate(timeout=300)
    assert ((small_recipe / "code").read_text(), output) == (f"{code}\n", "")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "✓ 5 → 6 … Ä 語 \\udcff"),
        ("latin-1", "ok 5 -> 6 ... Ä \\u8a9e \\udcff"),
        ("ascii", "ok 5 -> 6 ... \\xc4 \\u8a9e \\udcff"),
        ("euc-jp", "ok 5 → 6 … Ä 語 \\udcff"),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_characters_that_a_terminal_lacks_are_written_in_ascii(encoding: str, shown: str, unbuffered: str):
    done = subprocess.run(
        [sys.executable, "-c", PRINTS],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode(encoding) == f"{shown}\n"


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_ranks")
def test_a_recipe_prints_what_it_likes_in_any_locale(small_recipe: Path, run, start_verb):
    making = small_recipe / "making.py"
    making.write_text(making.read_text().replace("printed by a library", "Größe 語"))
    narrow = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    code, output = run(small_recipe, "--stop-stage", "0", **narrow)
    assert code == 0 and "Gr\\xf6\\xdfe \\u8a9e" in output, output
    assert "Größe 語" in next((small_recipe / "exp").rglob("rank-0.log")).read_text("utf-8")
    code, output = start_verb("logs", small_recipe / "exp" / "default", **narrow).finish()
    assert code == 0 and "Gr\\xf6\\xdfe \\u8a9e" in output, output
