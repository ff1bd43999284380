"""A process that has imported everything, and whose children are as fresh ones."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from espnet3.launcher.rank.placement import TaskPlacement
from espnet3.launcher.rank.warm.warm_rank import WarmRankRequest
from espnet3.launcher.start.step import TASK
from espnet3.launcher.start.warm_step import WARM_RANK
from espnet3.resources import Resources
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import Begin, write_begin
from espnet3.rundir.records.outcome import read_task_states
from espnet3.rundir.records.record import Record, write_record

ALONE = {"PROCID": "0", "STEP_NUM_TASKS": "1", "LOCALID": "0", "NODEID": "0", "STEP_NUM_NODES": "1"}
TELLING = '''
"""Stage 0: tells what process it is in, and ends as it is asked to."""
import atexit
import gc
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import StageResult


left_open = []


def tell(data_dir, mode, task):
    import numpy as np
    import torch
    from lightning.pytorch import Trainer

    matrix = np.random.rand(300, 300)
    assert np.allclose(matrix @ matrix, (torch.from_numpy(matrix) @ torch.from_numpy(matrix)).numpy())
    told = {
        "environment": dict(os.environ),
        "handlers": {int(n): getattr(signal.getsignal(n), "__qualname__", str(signal.getsignal(n)))
                     for n in signal.valid_signals()},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "wakeup": signal.set_wakeup_fd(-1),
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads(), threading.active_count()],
        "cuda": [torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork()],
        "descriptors": sorted(os.readlink(f"/proc/self/fd/{n}") for n in (0, 1, 2)),
        "count": len(os.listdir("/proc/self/fd")),
        "path": sys.path, "folder": os.getcwd(), "nice": os.nice(0), "umask": os.umask(0o22),
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
        "children": len(multiprocessing.active_children()), "collects": gc.isenabled(),
        "random": [random.random(), float(np.random.rand()), float(torch.rand(()))],
    }
    (Path(data_dir) / "told.json").write_text(json.dumps(told))
    left_open.append((Path(data_dir) / "left-open").open("w"))
    left_open[0].write("complete")
    threading.Thread(target=lambda: [time.sleep(0.5), (Path(data_dir) / "thread").touch()]).start()
    atexit.register((Path(data_dir) / "exit").touch)
    (Path(data_dir) / "begun").touch()
    if mode == "die":
        helper = subprocess.Popen(["sleep", "1000"])
        (Path(data_dir) / "helper").write_text(str(helper.pid))
        os.kill(os.getpid(), signal.SIGKILL)
    while mode == "wait":
        if task.stop.is_set():
            raise Stopped(task.stop.reason)
        time.sleep(0.01)
    return StageResult("told", Path(data_dir))
'''
Until = Callable[[Callable[[], object], str], None]


class Warm:
    """A warm rank, alone in its step."""

    def __init__(self, recipe: Path) -> None:
        self.recipe, self.count = recipe, 0
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", *WARM_RANK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(OMP_NUM_THREADS="2"),
            bufsize=0,
        )

    def attempt(self, mode: str = "ok") -> Path:
        """A new attempt's directory; its data are beside it."""
        self.count += 1
        home = self.recipe / f"run-{self.count}"
        directory = home / "attempts" / "prepare-1"
        own = asdict(ProcessName.own())
        write_begin(directory, Begin("prepare", 1, "local", 1, own, environment={"OMP_NUM_THREADS": "2"}))
        write_record(home, "prepare", Record({}, {}))
        made = f"prepare: {{_target_: telling.tell, data_dir: {home}, mode: {mode}}}"
        config = f"exp_dir: {home}\nrecipe_dir: {self.recipe}\ndata_dir: {home}\nstats_dir: {home}\n{made}\n"
        (directory / "config.yaml").write_text(config)
        return directory

    def send(self, *requests: WarmRankRequest) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(order.line() for order in requests))

    def answer(self) -> str:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 120)[0], "no answer"
        return self.process.stdout.read(1000).decode()

    def run(self, mode: str = "ok") -> tuple[Path, str]:
        directory = self.attempt(mode)
        self.send(WarmRankRequest(str(directory)))
        return directory, self.answer()


def environment(**further: str) -> dict[str, str]:
    """As srun gives it to a task."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "ESPNET3_FORK"))}
    return {**own, **{f"SLURM_{key}": value for key, value in ALONE.items()}, **further}


def told(attempt: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((attempt.parents[1] / "told.json").read_text())
    return found


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    recipe = tmp_path_factory.mktemp("warm") / "corpus" / "task"
    recipe.mkdir(parents=True)
    (recipe / "telling.py").write_text(TELLING)
    warm = Warm(recipe)
    yield warm
    warm.process.kill()
    warm.process.wait()


@pytest.mark.slow
def test_a_child_is_as_a_fresh_process(warm: Warm):
    (first, said), (second, _) = warm.run(), warm.run()
    assert said == "0 0\n"
    fresh = warm.attempt()
    command = [sys.executable, "-u", "-m", *TASK, str(fresh)]
    subprocess.run(command, env=environment(OMP_NUM_THREADS="1"), stdin=subprocess.DEVNULL, check=True)
    one, two, other = told(first), told(second), told(fresh)
    assert one["environment"].pop("SLURM_TASK_PID") != two["environment"].pop("SLURM_TASK_PID")
    draws = [each.pop("random") for each in (one, two, other)]
    assert len({draw for each in draws for draw in each}) == 9
    for each, attempt in ((one, first), (two, second), (other, fresh)):
        log = str(attempt.parents[1] / "logs" / "prepare" / "attempt-1" / "rank-0.log")
        assert each.pop("descriptors") == sorted([log, log, os.devnull])
        assert (attempt.parents[1] / "left-open").read_text() == "complete"
        assert (attempt.parents[1] / "thread").exists() and (attempt.parents[1] / "exit").exists()
    assert one == other and two == other
    assert other["threads"][0] == 2 and other["cuda"] == [False, False]


@pytest.mark.slow
def test_a_child_that_is_killed_leaves_nothing_behind_and_the_next_one_runs(warm: Warm, until: Until):
    attempt, said = warm.run("die")
    assert said == "0 -9\n"
    helper = Path("/proc") / (attempt.parents[1] / "helper").read_text() / "cmdline"
    until(lambda: not helper.exists() or not helper.read_bytes(), "its own child to be gone")
    assert warm.run()[1] == "0 0\n"


@pytest.mark.slow
def test_a_request_to_stop_reaches_a_child_that_has_hardly_begun(warm: Warm):
    attempt = warm.attempt("wait")
    warm.send(WarmRankRequest(str(attempt)), WarmRankRequest(signal=signal.SIGUSR1))
    assert warm.answer() == "0 75\n"
    (state,) = read_task_states(attempt)
    assert state.outcome == "stopped" and state.asked_by == "SIGUSR1"


@pytest.mark.slow
def test_signals_are_for_the_child_and_it_is_stopped_when_nobody_gives_orders_any_more(
    warm: Warm, until: Until
):
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
        attempt = warm.attempt("wait")
        warm.send(WarmRankRequest(str(attempt)))
        until((attempt.parents[1] / "begun").exists, "the child")
        warm.process.send_signal(number)
        assert warm.answer() == "0 75\n"
        (state,) = read_task_states(attempt)
        assert state.asked_by == number.name
    attempt = warm.attempt("wait")
    warm.send(WarmRankRequest(str(attempt)))
    until((attempt.parents[1] / "begun").exists, "the child")
    assert warm.process.stdin is not None
    warm.process.stdin.close()
    assert warm.answer() == "0 75\n"
    assert warm.process.wait(timeout=60) == 0
    (state,) = read_task_states(attempt)
    assert state.asked_by == "SIGUSR1"


@pytest.mark.slow
def test_what_is_imported_beforehand_asks_for_no_gpu_and_leaves_no_threads_of_torch():
    script = """
import os, torch
asked = []
for name in ("is_available", "device_count", "init", "_lazy_init", "current_device", "get_device_properties"):
    setattr(torch.cuda, name, lambda *words, name=name: asked.append(name))
from espnet3.stages.preloading import preload
preload()
print(asked, len(os.listdir("/proc/self/task")), torch.optim.Adam)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("[] 1 "), done.stdout


def test_a_stage_with_fewer_ranks_runs_on_the_first_of_each_node():
    def place(node: int, local: int, **asked: int) -> TaskPlacement | None:
        return WarmRankRequest("a", **asked).attempt_task(
            TaskPlacement(10 * node + local, 20, local, node, 2, "n")
        )

    assert place(1, 0, nodes=1, tasks_per_node=1) is None and place(0, 1, nodes=2, tasks_per_node=1) is None
    assert place(1, 1, nodes=2, tasks_per_node=2) == TaskPlacement(3, 4, 1, 1, 2, "n")
    assert place(0, 0, nodes=1, tasks_per_node=1) == TaskPlacement(0, 1, 0, 0, 1, "n")
    assert place(1, 9, nodes=2, tasks_per_node=10) == TaskPlacement(19, 20, 9, 1, 2, "n")


def test_only_what_a_step_has_as_a_step_of_its_own_would_runs_in_it():
    step = Resources(nodes=2, tasks_per_node=2, gpus_per_node=2, cpus_per_task=3)
    one = replace(step, nodes=1, tasks_per_node=1, gpus_per_node=1)
    assert step.fits_into(step) and one.fits_into(step)
    assert not replace(one, gpus_per_node=0).fits_into(step)  # it would see a GPU
    assert not replace(one, cpus_per_task=4).fits_into(step) and not replace(one, nodes=4).fits_into(step)
    assert not replace(step, tasks_per_node=4).fits_into(step)
    assert not replace(step, python="x").fits_into(step)
