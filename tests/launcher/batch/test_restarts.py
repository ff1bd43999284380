"""When a job starts again, and when it gives up."""

import os
from pathlib import Path

import pytest

from espnet3.launcher.batch.restarts import attempts_without_progress, decide_restart
from espnet3.rundir.attempt import Attempt, Begin, End, progress_mark


def attempt(number: int, progress: str, outcome=None) -> Attempt:
    begin = Begin("train", number, "slurm", 4, launched_by={}, progress=progress)
    return Attempt(Path("nowhere"), begin, None if outcome is None else End(outcome))


@pytest.mark.parametrize(
    ("end", "without_progress", "after"),
    [
        (End("done"), 0, "exit"),
        (End("failed", "ValueError: no"), 1, "exit"),  # the user's code: again would be the same
        (End("stopped", "SIGUSR2"), 0, "requeue"),  # the time limit, after a checkpoint
        (End("stopped", "SIGUSR2"), 1, "requeue"),
        (End("stopped", "SIGUSR2"), 2, "exit"),
        (End("stopped", "SIGTERM"), 1, "wait"),  # preempted or cancelled: Slurm knows which
        (End("stopped", "SIGTERM"), 9, "wait"),
        (End("killed", "rank 1 was killed"), 1, "requeue"),
        (End("killed", "rank 1 was killed"), 2, "exit"),
    ],
)
def test_what_follows_on_an_end_with_one_restart_allowed(end: End, without_progress: int, after: str):
    verdict = decide_restart(end, without_progress=without_progress, max_restarts=1)
    assert verdict.after == after
    assert ("max_restarts=1" in verdict.reason) == (after == "exit" and without_progress == 2)


def test_no_restart_means_none():
    assert decide_restart(End("killed"), without_progress=1, max_restarts=0).after == "exit"


def test_attempts_count_only_while_no_newer_checkpoint_appears():
    assert attempts_without_progress([], "") == 0
    progressing = [attempt(1, "", "stopped"), attempt(2, "at 5", "stopped"), attempt(3, "at 9", "stopped")]
    assert attempts_without_progress(progressing, "at 12") == 0
    assert attempts_without_progress(progressing, "at 9") == 1
    stuck = [
        attempt(1, "", "stopped"),
        attempt(2, "at 5", "killed"),
        attempt(3, "at 5", "killed"),
        attempt(4, "at 5"),
    ]
    assert attempts_without_progress(stuck, "at 5") == 3
    assert attempts_without_progress(stuck, "at 6") == 0


def test_preemption_is_free_and_a_finished_stage_is_no_attempt_without_progress():
    stuck = [attempt(1, "at 5", "killed"), attempt(2, "at 5"), attempt(3, "at 5", "killed")]
    assert attempts_without_progress(stuck, "at 5", preempted=[2]) == 2
    assert attempts_without_progress([attempt(1, "at 5", "done"), attempt(2, "at 5", "killed")], "at 5") == 1


def test_progress_is_where_the_newest_checkpoint_is_and_not_when_it_was_written(tmp_path: Path):
    assert progress_mark(tmp_path) == ""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for at, name in enumerate(("epoch=0-batch=10-step=10.ckpt", "epoch=0-batch=9-step=9.ckpt"), start=1):
        (folder / name).touch()
        os.utime(folder / name, (at, at))
    assert progress_mark(tmp_path) == "epoch=0-batch=9-step=9.ckpt"
    os.utime(folder / "epoch=0-batch=10-step=10.ckpt", (3, 3))
    (folder / "last.ckpt").touch()
    assert progress_mark(tmp_path) == "epoch=0-batch=10-step=10.ckpt"
    os.utime(folder / "epoch=0-batch=10-step=10.ckpt", (4, 4))  # stopped in the same validation again
    assert progress_mark(tmp_path) == "epoch=0-batch=10-step=10.ckpt"
