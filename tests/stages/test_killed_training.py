"""Kill -9 of a training that a user has started, at random moments: started again, it ends as undisturbed."""

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from espnet3.rundir.files.json_file import from_plain
from espnet3.rundir.process import ProcessName

pytestmark = pytest.mark.slow

EGS = Path(__file__).resolve().parents[2] / "egs"
OVERRIDES = {
    "TEMPLATE": ["trainer.max_epochs=12"],
    "mini_digits/asr": [
        *("+experiment=small", "prepare.utterances={train: 48, valid: 8, test: 1}", "trainer.max_epochs=3"),
        "dataloader.train.iter_factory.batch_size=8",
    ],
    "mini_digits/vocoder": [
        *("+experiment=small", "prepare.utterances={train: 48, valid: 4, test: 1}", "trainer.max_epochs=3"),
        *("min_snr_db=8", "segment=2048", "model.generator.channels=32"),
    ],
}


@pytest.fixture
def start_recipe(start, tmp_path):
    """Starts stages of a copy of a recipe; `tmp` is its folder for temporary files."""
    shutil.copytree(EGS, tmp_path / "egs", ignore=shutil.ignore_patterns("exp", "data", "__pycache__"))
    (tmp_path / "tmp").mkdir()

    def begin(recipe, *arguments):
        where = tmp_path / "egs" / recipe
        return start(where, *OVERRIDES[recipe], *arguments, TMPDIR=str(tmp_path / "tmp"))

    return begin


def train(start_recipe, recipe, tag, ranks, workers):
    return start_recipe(
        recipe,
        *("--stage", "2", "--stop-stage", "2", f"tag={tag}"),
        *("checkpoint.every_n_batches=1", "trainer.log_every_n_steps=1"),
        *(f"resources.train.tasks_per_node={ranks}", "resources.train.cpus_per_task=1"),
        f"+dataloader.train.num_workers={workers}",
    )


def tasks_of(home):
    """Process ids of the ranks that are alive, which may be forks of the tests' server."""
    states = [json.loads(path.read_text()) for path in home.glob("attempts/train-*/rank-*.json")]
    processes = [from_plain(ProcessName, state["process"]) for state in states]
    return sorted(process.pid for process in processes if process.is_alive())


def family_of(pids):
    """Processes and all their descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
    family = list(pids)
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
    """When the newest checkpoint was written; older ones are removed meanwhile."""
    times = [0]
    for path in home.glob("checkpoints/epoch=*.ckpt"):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime_ns)
    return max(times)


def kill_at_random(command, home, rng, until, *, one_rank):
    """Kill the whole tree, or one rank alone; sometimes before it has begun to train."""
    before = newest(home)
    if rng.random() < 0.2:
        until(lambda: tasks_of(home), "a rank")
        time.sleep(rng.uniform(0.0, 0.2))
    else:
        until(lambda: newest(home) > before or command.process.poll() is not None, "a checkpoint")
        time.sleep(rng.uniform(0.0, 0.03))
    tasks = tasks_of(home)
    family = family_of([command.process.pid, *tasks])
    end([rng.choice(tasks)] if one_rank else family)
    code, output = command.finish()
    assert code in ((1, 75) if one_rank else (-signal.SIGKILL,)), output
    until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in family),
        "its processes to be gone",
    )


def end_of(home):
    last = torch.load(home / "checkpoints" / "last.ckpt", weights_only=True)
    moments = [
        {f"{index}/{key}": value for index, entry in state["state"].items() for key, value in entry.items()}
        for state in last["optimizer_states"]
    ]
    return (home / "csv" / "metrics.csv").read_text(), [last["state_dict"], *moments]


def temporary_files(directory):
    """Without the sockets of data loaders' workers, which Python alone could remove."""
    return {path.name for path in directory.iterdir() if not path.name.startswith("pymp-")}


@pytest.mark.parametrize(
    ("recipe", "ranks", "workers", "kills", "processes"),
    [
        ("TEMPLATE", 1, 0, 10, "forked"),
        ("TEMPLATE", 2, 1, 4, "forked"),
        ("mini_digits/asr", 1, 0, 3, "forked"),
        ("mini_digits/vocoder", 1, 2, 3, "fresh"),
    ],
)
def test_a_training_that_is_killed_again_and_again_ends_as_the_undisturbed(
    request, start_recipe, until, tmp_path, recipe, ranks, workers, kills, processes
):
    if processes == "fresh":
        request.getfixturevalue("fresh_ranks")
    code, output = start_recipe(recipe, "--stop-stage", "1").finish()
    assert code == 0, output
    code, output = train(start_recipe, recipe, "undisturbed", ranks, workers).finish()
    assert code == 0, output
    temporary = temporary_files(tmp_path / "tmp")  # such as torch's cache of compiled code
    home, rng = tmp_path / "egs" / recipe / "exp" / "killed", random.Random(ranks)
    for number in range(kills):
        command = train(start_recipe, recipe, "killed", ranks, workers)
        kill_at_random(command, home, rng, until, one_rank=bool(number % 2))
    code, output = train(start_recipe, recipe, "killed", ranks, workers).finish()
    assert code == 0, output
    assert "continuing from" in output and "/checkpoints/epoch=" in output
    (rows, tensors), (expected_rows, expected) = map(end_of, (home, home.with_name("undisturbed")))
    assert rows == expected_rows
    for got, wanted in zip(tensors, expected, strict=True):
        assert got.keys() == wanted.keys()
        assert all(torch.equal(got[key], wanted[key]) for key in wanted)
    assert not list(home.glob("**/.*.tmp"))
    assert temporary_files(tmp_path / "tmp") == temporary
