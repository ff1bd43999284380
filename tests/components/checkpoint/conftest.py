"""Gives the tests of checkpoints `resume_runs`, its corpus, and its answers from processes of their own."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("resume_runs.py")


@pytest.fixture(scope="session")
def resume_runs():
    sys.path.insert(0, str(SCRIPT.parent))  # its models are named in configurations
    threads = torch.get_num_threads()
    yield importlib.import_module(SCRIPT.stem)
    torch.set_num_threads(threads)
    if str(SCRIPT.parent) in sys.path:  # other tests put the path back to what it was
        sys.path.remove(str(SCRIPT.parent))


@pytest.fixture(scope="session")
def corpus(resume_runs, tmp_path_factory):
    directory = tmp_path_factory.mktemp("corpus")
    resume_runs.make_corpus(directory)
    return directory


@pytest.fixture
def answer(tmp_path):
    """What the script answers to one of its commands."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(tmp_path), *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return json.loads((tmp_path / "answer.json").read_text())

    return run
