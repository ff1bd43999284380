"""Gives the tests of checkpoints what they train and compare, a corpus, and answers of other processes."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def _modules():
    """The modules beside this file, which import one another and are named in configurations."""
    sys.path.insert(0, str(HERE))
    threads = torch.get_num_threads()
    yield {name: importlib.import_module(name) for name in ("resume_cases", "resume_ends", "resume_runs")}
    torch.set_num_threads(threads)
    if str(HERE) in sys.path:  # other tests put the path back to what it was
        sys.path.remove(str(HERE))


@pytest.fixture(scope="session")
def resume_cases(_modules):
    return _modules["resume_cases"]


@pytest.fixture(scope="session")
def resume_ends(_modules):
    return _modules["resume_ends"]


@pytest.fixture(scope="session")
def resume_runs(_modules):
    return _modules["resume_runs"]


@pytest.fixture(scope="session")
def corpus(resume_cases, tmp_path_factory):
    directory = tmp_path_factory.mktemp("corpus")
    resume_cases.make_corpus(directory)
    return directory


@pytest.fixture
def equal_ends(resume_ends):
    """Fails unless two trainings have left the same, in every bit."""

    def check(one, other):
        assert resume_ends.differences(*map(resume_ends.end_of, (one, other))) == []

    return check


@pytest.fixture
def answer(tmp_path):
    """What resume_script.py answers to one of its commands."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, str(HERE / "resume_script.py"), str(tmp_path), *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return json.loads((tmp_path / "answer.json").read_text())

    return run
