"""Runs on this machine that are started from Python: in the background, for any process to take up."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from espnet3 import launch, load_run
from espnet3.errors import UserError
from espnet3.launcher.submit.job_handle import JobFailed
from espnet3.rundir.claim import hold
from espnet3.rundir.records.background import process_at_work, read_background
from espnet3.sweep.trials.folder import is_sweep

STAGE_0: dict[str, Any] = {"stages": (0, 0), "launcher": "local"}
PROGRAM = """
import sys
from espnet3 import launch
run = launch(sys.argv[1], ["prepare.mode=wait"], stages=("prepare", "prepare"), launcher="local")
print(run.directory, [row.state for row in run.status()], run.jobs, "torch" in sys.modules)
"""
PATIENCE_S = 300.0
"""So that a bug does not hang."""
Until = Callable[[Callable[[], object], str], None]


@pytest.fixture(autouse=True)
def nothing_is_left(small_recipe: Path) -> Iterator[None]:
    """End what a test that failed has left in the background."""
    yield
    background = read_background(small_recipe / "exp" / "default")
    if background is not None and background.is_alive:
        os.kill(background.process_name.pid, signal.SIGTERM)


def states(run: Any) -> list[tuple[str, str]]:
    return [(row.stage, row.state) for row in run.status()]


def test_it_goes_on_without_the_process_that_started_it_which_never_imports_torch(
    small_recipe: Path, until: Until
):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(small_recipe)], capture_output=True, text=True, check=True
    )
    exp_dir, state, jobs, torch = done.stdout.rsplit(maxsplit=3)
    assert Path(exp_dir) == small_recipe / "exp" / "default" and (jobs, torch) == ("[]", "False")
    assert state in ("['queued']", "['running']")
    run = load_run(exp_dir)
    with pytest.raises(TimeoutError, match="is under way after 0 s"):
        run.wait(timeout_s=0)
    until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    (small_recipe / "data" / "go").touch()
    assert [row.state for row in run.wait()] == ["done"]
    assert "making 3 in mode wait" in (run.directory / "logs" / "background.log").read_text()


@pytest.mark.slow
def test_what_is_unchanged_is_skipped_and_done(small_recipe: Path):
    launch(small_recipe, ["tag=first"], **STAGE_0).wait()
    run = launch(small_recipe, ["tag=second"], **STAGE_0)
    assert run.result() == {}
    assert states(run) == states(load_run(run.directory)) == [("prepare", "done")]
    assert not (run.directory / "attempts").exists()


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        (["optimizer.lrr=1"], {}, "did you mean optimizer.lr"),
        ([], {"stages": (0, 7)}, "there is no such stage"),
        ([], {"stages": "train"}, "give the first and the last stage"),
        ("prepare.size=1", {}, "give a list"),
        ([], {"launcher": "debug"}, "launcher=debug runs in the process"),
        ([], {"stages": (1, 1), "launcher": "local"}, "is missing: stage 0 prepare makes it"),
        (["seed=1,2"], {"stages": (0, 0), "multirun": True}, "a trial trains or validates"),
        (["hydra/launcher=basic"], {}, "python -m espnet3.hydra_app"),
    ],
)
def test_a_mistake_is_raised_before_anything_is_started(small_recipe: Path, overrides, options, message: str):
    with pytest.raises(UserError, match=message):
        launch(small_recipe, overrides, **options)
    assert not list((small_recipe / "exp").glob("**/background.json"))


def test_cancel_asks_it_to_stop_and_its_directory_is_in_use_until_then(small_recipe: Path, until: Until):
    run = launch(small_recipe, ["prepare.mode=wait"], **STAGE_0)
    background = read_background(run.directory)
    assert background is not None and os.getsid(background.process_name.pid) == background.process_name.pid
    with pytest.raises(UserError, match="is in use by process"):
        launch(small_recipe, **STAGE_0)
    until(lambda: list((small_recipe / "data").glob("begun-*")), "the stage")
    load_run(run.directory).cancel()
    assert [row.state for row in run.wait(PATIENCE_S)] == ["stopped"]
    assert (small_recipe / "data" / "saved").exists()
    with pytest.raises(JobFailed, match="stage 0 prepare stopped"):
        run.result()
    run.resume()
    until(lambda: len(list((small_recipe / "data").glob("begun-*"))) == 2, "the stage again")
    (small_recipe / "data" / "go").touch()
    assert [row.state for row in run.wait(PATIENCE_S)] == ["done"]


def test_cancel_ends_it_before_it_has_begun(small_recipe: Path):
    run = launch(small_recipe, ["prepare.mode=wait"], **STAGE_0)
    run.cancel()
    assert [row.state for row in run.wait(PATIENCE_S)] in (["not started"], ["stopped"])


def test_a_failure_has_the_traceback_of_the_rank(small_recipe: Path):
    run = launch(small_recipe, ["prepare.mode=raise"], **STAGE_0)
    with pytest.raises(JobFailed, match="stage 0 prepare failed") as failure:
        run.result()
    assert failure.value.traceback.rstrip().endswith("ValueError: no microphone")


@pytest.mark.slow
def test_it_works_in_an_event_loop_beside_the_main_thread_as_in_a_notebook(small_recipe: Path):
    ended = []

    async def cell() -> None:
        run = launch(small_recipe, **STAGE_0)
        ended.extend(run.wait())

    thread = threading.Thread(target=lambda: asyncio.run(cell()))
    thread.start()
    thread.join()
    assert [row.state for row in ended] == ["done"]


def test_importing_the_package_is_cheap():
    script = (
        "import espnet3, sys; print([n for n in ('hydra', 'rich', 'submitit', 'torch') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'lunch'"):
        import espnet3

        espnet3.lunch  # noqa: B018


def test_a_directory_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="is no run directory"):
        load_run(tmp_path)


@pytest.mark.slow
def test_a_sweep_on_this_machine_is_cancelled_and_resumed(
    template: Path, until: Until, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    short = ["trainer.max_epochs=1", "logger.tensorboard=null", "tag=rates"]
    sizes = "prepare.sizes={train: 32, valid: 16, test: 16}"
    sweep = launch(template, ["optimizer.lr=1e-3,1e-2", sizes, *short], launcher="local", multirun=True)
    loaded = load_run(template / "exp" / "sweeps" / "rates")
    assert repr(loaded) == repr(sweep) and sweep.directory.name == "rates"
    until(lambda: process_at_work(sweep.directory) and is_sweep(sweep.directory), "the first trial")
    sweep.cancel()
    assert "done" not in [row.state.state for row in loaded.wait()]
    loaded.resume()
    assert [row.state.state for row in loaded.wait()] == ["done", "done"]
    assert list(loaded.trials) == list(loaded.metrics()) == [row.name for row in sweep.status()]
    best = sweep.best
    assert best is not None and best.directory.name in loaded.trials
    assert best.result() == loaded.metrics()[best.directory.name]
    assert sweep.jobs == []


def test_a_search_on_this_machine_is_refused_while_it_is_under_way(template: Path):
    search = {"overrides": ["hydra/sweeper=optuna", "seed=1,2", "tag=found"], "multirun": True}
    sweep = template / "exp" / "sweeps" / "found"
    with hold(sweep / "search"), pytest.raises(UserError, match="the search is under way"):
        launch(template, **search)
    assert not (sweep / "logs").exists()
