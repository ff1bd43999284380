"""Kill -9 of a training that a user has started, at random moments: started again, it ends as undisturbed."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow


def train(start, recipe, tag, ranks):
    return start(
        recipe,
        *("--stage", "2", "--stop-stage", "2", f"tag={tag}", "trainer.max_epochs=12"),
        *("checkpoint.every_n_batches=1", "trainer.log_every_n_steps=1"),
        *(f"resources.train.tasks_per_node={ranks}", "resources.train.cpus_per_task=1"),
    )


def tasks_of(home, family):
    """Process ids of the ranks, which are among the command's own processes."""
    states = [json.loads(path.read_text()) for path in home.glob("jobs/train-*/rank-*.json")]
    return sorted({state["process"]["pid"] for state in states} & set(family))


def family_of(pid):
    """A process and all its descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def end(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def newest(home):
    return max((path.stat().st_mtime_ns for path in home.glob("checkpoints/epoch=*.ckpt")), default=0)


def kill_at_random(command, home, rng, until):
    """Kill the whole tree, or one rank alone; sometimes before it has begun to train."""
    before = newest(home)
    if rng.random() < 0.2:
        until(lambda: tasks_of(home, family_of(command.process.pid)), "a rank")
        time.sleep(rng.uniform(0.0, 2.0))
    else:
        until(lambda: newest(home) > before or command.process.poll() is not None, "a checkpoint")
        time.sleep(rng.uniform(0.0, 0.03))
    family = family_of(command.process.pid)
    tasks = tasks_of(home, family)
    one_rank = bool(tasks) and rng.random() < 0.5
    end([rng.choice(tasks)] if one_rank else family)
    code, output = command.finish()
    assert code in ((1, 75) if one_rank else (-signal.SIGKILL,)), output
    until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in family),
        "its processes to be gone",
    )
    return one_rank


def ends(home):
    last = torch.load(home / "checkpoints" / "last.ckpt", weights_only=True)
    return (
        last["state_dict"],
        (home / "csv" / "metrics.csv").read_text(),
        last["optimizer_states"][0]["state"],
    )


@pytest.mark.parametrize(("ranks", "kills"), [(1, 20), (2, 3)])
def test_a_training_that_is_killed_again_and_again_ends_as_the_undisturbed(
    template, start, run, until, ranks, kills
):
    code, output = run(template, "--stop-stage", "1")
    assert code == 0, output
    code, output = train(start, template, "undisturbed", ranks).finish()
    assert code == 0, output
    home, rng = template / "exp" / "killed", random.Random(ranks)
    one_rank = [
        kill_at_random(train(start, template, "killed", ranks), home, rng, until) for _ in range(kills)
    ]
    assert True in one_rank and False in one_rank
    code, output = train(start, template, "killed", ranks).finish()
    assert code == 0, output
    assert "continuing from" in output and "/checkpoints/epoch=" in output
    (weights, rows, moments), (expected, expected_rows, expected_moments) = map(
        ends, (home, home.with_name("undisturbed"))
    )
    assert rows == expected_rows
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    for index, state in expected_moments.items():
        assert all(torch.equal(moments[index][key], value) for key, value in state.items())
    assert not list(home.glob("**/.*.tmp"))
