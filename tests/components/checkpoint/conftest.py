"""Gives the tests of checkpoints a corpus, a comparison, and answers of other processes."""

import json
import os
import subprocess
import sys

import pytest

import resume_cases
import resume_ends
import resume_script


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    directory = tmp_path_factory.mktemp("corpus")
    resume_cases.make_corpus(directory)
    return directory


@pytest.fixture
def equal_ends():
    """Fails unless two trainings have left the same, in every bit."""

    def check(one, other):
        assert resume_ends.differences(*map(resume_ends.end_of, (one, other))) == []

    return check


@pytest.fixture
def answer(tmp_path):
    """What resume_script.py answers to one of its commands."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, resume_script.__file__, str(tmp_path), *arguments],
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
