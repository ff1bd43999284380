"""Ranks and trials that are forks of the command's warm process: as fresh ones, and never left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from espnet3.rundir.records.attempt import read_attempts

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_ranks")]

Until = Callable[[Callable[[], object], str], None]
TELLING = '''
"""Tells what process a training's rank is, and waits or edits the recipe where a file asks for it."""
import gc
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Callback

import version


def told():
    random_states = [random.random(), float(np.random.rand()), float(torch.rand(()))]
    return {
        "environment": dict(os.environ),
        "handlers": {int(n): getattr(signal.getsignal(n), "__qualname__", str(signal.getsignal(n)))
                     for n in signal.valid_signals()},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "python threads": sorted(thread.name for thread in threading.enumerate()),
        "cuda": [torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork()],
        "descriptors": sorted(os.readlink(f"/proc/self/fd/{n}") for n in (0, 1, 2)),
        "path": sys.path, "folder": os.getcwd(), "nice": os.nice(0), "umask": os.umask(0o22),
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
        "children": len(multiprocessing.active_children()), "collects": gc.isenabled(),
        "seeded": random_states, "leads its group": os.getpgid(0) == os.getpid(),
    }


AT_IMPORT = [random.random(), float(np.random.rand()), float(torch.rand(()))]
"""Before the stage has seeded them."""


class Tells(Callback):
    def __init__(self, folder):
        self.folder = Path(folder)
        self.here = Path(__file__).parent

    def on_train_start(self, trainer, module):
        content = {**told(), "at import": AT_IMPORT, "version": version.NUMBER}
        (self.folder / f"told-{trainer.global_rank}.json").write_text(json.dumps(content))
        (self.here / "version.py").write_text(f"NUMBER = {10 * version.NUMBER}\\n")

    def on_train_batch_start(self, trainer, module, *_):
        if (self.here / "wait").exists():
            (self.folder / f"begun-{trainer.global_rank}-{os.getpid()}").touch()
            while not module.stop_requested():
                time.sleep(0.05)
'''
SHORT = ("trainer.max_epochs=2", "logger.tensorboard=null", "prepare.sizes={train: 64, valid: 16, test: 16}")
CALLBACK = "+callbacks.tells={_target_: telling.Tells, folder: '${exp_dir}'}"
TWO_RANKS = ("resources.train.tasks_per_node=2", "+dataloader.train.num_workers=1")


@pytest.fixture
def recipe(template: Path) -> Path:
    """The smallest recipe, whose ranks tell what they are."""
    (template / "telling.py").write_text(TELLING)
    (template / "version.py").write_text("NUMBER = 1\n")
    return template


def run_fresh(recipe: Path, *words: str) -> None:
    """Run a command whose ranks are fresh processes."""
    support = Path(__file__).resolve().parents[2] / "support"
    path = os.pathsep.join([str(support), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "fresh_processes", "run", "--recipe", str(recipe), *words]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True)


def told(home: Path, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / f"told-{rank}.json").read_text())
    return found


def assert_same_bits(one: Path, other: Path) -> None:
    ends = [torch.load(home / "checkpoints" / "last.ckpt", weights_only=True) for home in (one, other)]
    assert ends[0]["state_dict"].keys() == ends[1]["state_dict"].keys()
    for name, weights in ends[0]["state_dict"].items():
        assert torch.equal(weights, ends[1]["state_dict"][name]), name
    assert (one / "csv" / "metrics.csv").read_text() == (other / "csv" / "metrics.csv").read_text()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def comparable(content: dict[str, Any], home: Path) -> dict[str, Any]:
    """Without what differs between any two runs."""
    for key in ("MASTER_PORT", "ESPNET3_JOB", "PYTHONPATH"):
        content["environment"].pop(key, None)
    for key in ("at import", "version"):
        content.pop(key)
    content["path"] = [path for path in content["path"] if not path.endswith("tests/support")]
    result: dict[str, Any] = json.loads(json.dumps(content).replace(str(home), "HOME"))
    return result


def test_ranks_and_trials_are_as_fresh_processes_and_give_the_same_bits(recipe: Path, run):
    """Also with threads of their own number, after other stages, and below a trial."""
    exp, words = (
        recipe / "exp",
        (*SHORT, CALLBACK, *TWO_RANKS, "resources.train.cpus_per_task=2", "--stop-stage", "2"),
    )
    code, output = run(recipe, *words, "seed=3", "tag=warm")
    assert code == 0, output
    run_fresh(recipe, *words, "seed=3", "tag=fresh")
    code, output = run(recipe, "-m", *words, "seed=3", "tag=many")
    assert code == 0, output
    (trial,) = (exp / "sweeps" / "many" / "trials").glob("*")
    assert_same_bits(exp / "warm", exp / "fresh")
    assert_same_bits(trial, exp / "fresh")
    homes = (exp / "warm", exp / "fresh", trial)
    draws = [tuple(told(home, rank)["at import"]) for home in homes for rank in (0, 1)]
    assert len({draw for each in draws for draw in each}) == 18
    for rank in (0, 1):
        warm, fresh, below_trial = (comparable(told(home, rank), home) for home in homes)
        assert warm == fresh
        assert below_trial == fresh
        assert fresh["threads"][0] == 2 and fresh["cuda"] == [False, False]
        assert fresh["environment"]["OMP_NUM_THREADS"] == "2"


def test_a_trial_imports_the_recipe_as_it_is_when_the_trial_begins(recipe: Path, run):
    """Each trial edits what the next one imports."""
    code, output = run(recipe, "-m", *SHORT, CALLBACK, "seed=1,2")
    assert code == 0, output
    trials = (recipe / "exp" / "sweeps" / "default" / "trials").iterdir()
    assert {told(trial)["version"] for trial in trials} == {1, 10}


def begin_to_wait(recipe: Path, start, until: Until) -> tuple[Any, list[int]]:
    """A command in the middle of a training on two ranks, and its ranks' processes."""
    (recipe / "wait").touch()
    command = start(recipe, *SHORT, CALLBACK, *TWO_RANKS)
    home = recipe / "exp" / "default"
    until(lambda: len(list(home.glob("begun-*"))) == 2 or command.process.poll() is not None, "the ranks")
    return command, [int(path.name.rpartition("-")[2]) for path in home.glob("begun-*")]


def all_gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_ranks_save_and_nothing_is_left_when_the_command_alone_is_killed(recipe: Path, start, until: Until):
    command, ranks = begin_to_wait(recipe, start, until)
    family = [*children_of(command.process.pid), *ranks]
    command.signal(signal.SIGKILL)
    until(lambda: all_gone(family), "its processes to end")
    (attempt,) = (one for one in read_attempts(recipe / "exp" / "default") if one.begin.stage == "train")
    assert [state.outcome for state in attempt.states] == ["stopped", "stopped"]


@pytest.mark.parametrize("ending", ["warm process", "whole group"])
def test_ranks_end_at_once_with_the_warm_process(recipe: Path, start, until: Until, ending: str):
    command, ranks = begin_to_wait(recipe, start, until)
    (warm,) = children_of(command.process.pid)
    if ending == "warm process":
        os.kill(warm, signal.SIGKILL)
        code, output = command.finish()
        assert code == 1 and "ranks 0, 1 were killed" in output, output
    else:
        command.kill()
    until(lambda: all_gone([warm, *ranks]), "its processes to end")


def test_a_second_ctrl_c_ends_trials_with_their_ranks(recipe: Path, start, until: Until):
    (recipe / "wait").touch()
    telling = recipe / "telling.py"
    telling.write_text(telling.read_text().replace("while not module.stop_requested()", "while True"))
    command = start(recipe, "-m", *SHORT, CALLBACK, "seed=1,2", "sweep.max_parallel=2")
    trials = recipe / "exp" / "sweeps" / "default" / "trials"
    until(lambda: len(list(trials.glob("*/begun-*"))) == 2, "the ranks")
    family = [int(path.name.rpartition("-")[2]) for path in trials.glob("*/begun-*")]
    (warm,) = children_of(command.process.pid)
    family += [warm, *children_of(warm), *(one for trial in children_of(warm) for one in children_of(trial))]
    assert len(family) == 7
    command.interrupt_terminal()
    next(line for line in command.process.stdout if "Ctrl-C once more" in line)
    command.interrupt_terminal()
    code, output = command.finish()
    assert code == 130, output
    until(lambda: all_gone(family), "its processes to end")
