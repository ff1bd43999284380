"""A rank that is forked for a test is as one that was started, and ends with what stands for it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from espnet3.launcher.start.tasks import task_environment
from espnet3.resources import Resources

pytestmark = pytest.mark.slow

TELLING = Path(__file__).with_name("telling.py")


def start(*words: object, forked: bool = True, **options) -> subprocess.Popen[str]:
    """Start the program that tells how it was started."""
    environment = {**os.environ, "MINE": "\udcff, yes"}
    if not forked:
        del environment["ESPNET3_FORKSERVER"]
    return subprocess.Popen(
        [sys.executable, "-u", TELLING, *map(str, words)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def ignore_some() -> None:
    """As nohup and submitit's controller do."""
    os.umask(0o27)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])


def test_it_is_started_as_a_process_of_its_own_would_be(tmp_path: Path):
    told, errors = {}, {}
    for forked in (True, False):
        process = start("exit", 3, forked=forked, cwd=tmp_path, preexec_fn=ignore_some)
        output, errors[forked] = process.communicate("a line\n")
        told[forked] = json.loads(output)
        assert process.returncode == 3
        assert (told[forked].pop("pid") != process.pid) is forked
        assert told[forked].pop("imports") is forked
    told[False]["environment"]["ESPNET3_FORKSERVER"] = os.environ["ESPNET3_FORKSERVER"]
    assert told[True] == told[False]
    assert told[True]["read"] == "a line\n" and told[True]["environment"]["MINE"] == "\udcff, yes"
    assert errors[True] == errors[False] == "and this is an error\n"


def test_its_end_is_that_of_the_process():
    for words, code in ((("exit", 0), 0), (("raise", "no"), 1), (("die", 6), -6), (("die", 9), -9)):
        process = start(*words)
        _, errors = process.communicate("")
        assert process.returncode == code
        assert ("ValueError: no" in errors) is (words[0] == "raise")


def test_signals_reach_it():
    process = start("wait", "")
    process.stdin.close()
    assert process.stdout.readlines(1) and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 9
    process.stdout.close()
    process.stderr.close()


def test_it_ends_when_the_process_is_killed(until):
    process = start("wait", "")
    process.stdin.close()
    pid = json.loads(process.stdout.readline())["pid"]
    process.kill()
    assert process.wait() == -signal.SIGKILL
    until(lambda: not Path(f"/proc/{pid}").exists(), "the fork to be gone")
    process.stdout.close()
    process.stderr.close()


def test_a_process_that_would_import_another_espnet3_is_left_alone(tmp_path: Path):
    (tmp_path / "espnet3").mkdir()  # data files alone, as an editable installation has them, are no package
    process = start("exit", 0, cwd=tmp_path)
    assert json.loads(process.communicate("")[0])["pid"] != process.pid
    (tmp_path / "espnet3" / "__init__.py").touch()
    process = start("exit", 0, cwd=tmp_path)
    told = json.loads(process.communicate("")[0])
    assert told["pid"] == process.pid and not told["imports"]


def test_libraries_are_loaded_with_what_ranks_are_started_with():
    process = start("wait", "")
    process.stdin.close()
    pid = json.loads(process.stdout.readline())["pid"]
    server = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    loaded = Path(f"/proc/{server}/environ").read_text().split("\0")
    for name, value in task_environment(Resources()).items():
        assert f"{name}={value}" in loaded
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


@pytest.mark.usefixtures("fresh_ranks")
def test_a_test_can_have_fresh_processes_instead():
    process = start("exit", 0)
    assert json.loads(process.communicate("")[0])["imports"] is False
