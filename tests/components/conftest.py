"""Gives the tests of components the answers of real ranks; those of two to `training_ranks`, run once."""

import os
import subprocess
import sys

import pytest
import torch

import training_ranks


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory, answers_of_ranks):
    """What two gloo ranks answered to every scenario, by rank."""
    return answers_of_ranks(training_ranks.__file__, tmp_path_factory.mktemp("two_ranks"), 2)


@pytest.fixture(scope="session")
def answers_of_ranks():
    """Runs a script as so many ranks on this machine; what each has left in its rank-<r>.pt."""
    return _answers_of_ranks


def _answers_of_ranks(script, directory, world_size, *arguments):
    shared = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONFAULTHANDLER": "1",  # where a crash in a library came from
        "WORLD_SIZE": str(world_size),
        "RENDEZVOUS": f"file://{directory / 'meeting'}",  # a port could be taken by another program
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(directory), *arguments],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world_size)
    ]
    try:
        outputs = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-4000:]
    return [torch.load(directory / f"rank-{rank}.pt", weights_only=False) for rank in range(world_size)]
