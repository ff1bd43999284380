"""Trainings on several ranks through the command line: they work, fail and stop together."""

import re
import signal
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TWO_RANKS = "resources.train.tasks_per_node=2"
FAILING = """
import os
import torch
from model import PitchModel


class FailingModel(PitchModel):
    def forward(self, *args, **kwargs):
        if self.training and os.environ.get("RANK") == "1":
            raise RuntimeError("rank one has no more memory")
        return super().forward(*args, **kwargs)


class DyingModel(PitchModel):
    def forward(self, *args, **kwargs):
        if self.training and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), 9)
        return super().forward(*args, **kwargs)
"""


@pytest.fixture
def prepared(template: Path, run) -> Path:
    (template / "failing.py").write_text(FAILING)
    assert run(template, "--stop-stage", "0")[0] == 0
    return template


def test_two_ranks_train_and_each_has_its_log(prepared: Path, run):
    code, output = run(prepared, "--stage", "1", TWO_RANKS)
    assert code == 0, output
    assert "ranks: 2" in output
    assert "accuracy = " in output
    logs = prepared / "exp/default/logs/train/attempt-1"
    assert (logs / "rank-0.log").exists() and (logs / "rank-1.log").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("failing.FailingModel", "rank one has no more memory"),
        ("failing.DyingModel", "rank 1 was killed by SIGKILL"),
    ],
)
@pytest.mark.usefixtures("fresh_ranks")
def test_a_rank_that_fails_ends_all_and_is_the_one_that_is_named(prepared: Path, run, target: str, said: str):
    code, output = run(prepared, "--stage", "1", TWO_RANKS, f"model._target_={target}")
    assert code == 1
    assert said in output
    assert ("rank 0 was killed" not in output) and ("stage 3" not in output)
    if "killed" in said:  # all that is said of it
        lost, why, end = (line.split(" ", 2)[2] for line in output.splitlines()[-3:])
        assert lost == "ERROR train ends: another rank is gone" and why == said
        assert re.fullmatch(
            r"stage 2 train: killed after \S+ s, see \S+/rank-1.log; the same command continues it", end
        )
    code, output = run(prepared, "--stage", "1", "--dry-run", TWO_RANKS)
    assert code == 0, output  # a training that saved nothing binds nobody


def test_ctrl_c_in_a_training_on_two_ranks_saves_and_the_same_command_finishes_it(prepared: Path, start, run):
    arguments = ("--stage", "1", "--stop-stage", "2", TWO_RANKS, "trainer.max_epochs=60")
    command = start(prepared, *arguments)
    first = next(line for line in command.process.stdout if "epoch 1/60" in line)
    command.signal(signal.SIGINT)
    code, rest = command.finish()
    assert code == 75, rest
    assert "the same command continues it" in rest
    code, output = run(prepared, *arguments, "--dry-run")
    assert "would continue" in output
    code, output = run(prepared, *arguments)
    assert code == 0, output
    epochs = [int(number) for number in re.findall(r"epoch (\d+)/60:", first + rest + output)]
    assert epochs == list(range(1, 61))
