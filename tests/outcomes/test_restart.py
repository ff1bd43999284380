"""When a job starts again, and when it gives up."""

import os
from pathlib import Path

import pytest

from espnet3.outcomes.restart import (
    RestartDecision,
    attempts_without_progress,
    decide_restart,
    decide_unended,
    perhaps_preempted,
    preempted_attempts,
    result_without_progress,
    with_reason,
)
from espnet3.rundir.records.attempt import Attempt, AttemptResult, Begin, progress_mark


def attempt(number: int, progress: str, outcome=None, reason: str = "", *, start: int = 0) -> Attempt:
    by = {"host": "node1", "pid": 7, "started": "boot-1", "slurm_job": f"12.{start}"}
    begin = Begin("train", number, "slurm", 4, launched_by=by, progress=progress)
    return Attempt(Path("nowhere"), begin, None if outcome is None else AttemptResult(outcome, reason))


@pytest.mark.parametrize(
    ("result", "without_progress", "after"),
    [
        (AttemptResult("done"), 0, "exit"),
        (AttemptResult("failed", "ValueError: no"), 1, "exit"),  # the user's code: again would be the same
        (AttemptResult("stopped", "SIGUSR2"), 0, "requeue"),  # the time limit, after a checkpoint
        (AttemptResult("stopped", "SIGUSR2"), 1, "requeue"),
        (AttemptResult("stopped", "SIGUSR2"), 2, "exit"),
        (AttemptResult("stopped", "SIGTERM"), 1, "wait"),  # preempted or cancelled: Slurm knows which
        (AttemptResult("stopped", "SIGTERM"), 9, "wait"),
        (AttemptResult("killed", "rank 1 was killed"), 1, "restart"),
        (AttemptResult("killed", "rank 1 was killed"), 2, "exit"),
    ],
)
def test_what_follows_on_a_result_with_one_restart_allowed(
    result: AttemptResult, without_progress: int, after: str
):
    decision = decide_restart(result, without_progress=without_progress, max_restarts=1)
    assert decision.after == after
    assert ("max_restarts=1" in decision.reason) == (after == "exit" and without_progress == 2)


def test_no_restart_means_none():
    assert decide_restart(AttemptResult("killed"), without_progress=1, max_restarts=0).after == "exit"


def test_a_job_that_slurm_does_not_end_starts_again_unless_a_person_asked_it_to_stop():
    by_slurm = decide_unended(decide_restart(AttemptResult("stopped", "SIGTERM")))
    assert by_slurm.after == "requeue" and "Slurm does not end this job" in by_slurm.reason
    by_hand = decide_unended(decide_restart(AttemptResult("stopped", "SIGINT")))
    assert (by_hand.after, by_hand.reason) == ("exit", "it was asked to stop by SIGINT")
    assert by_hand.exit_code == 75


def test_a_job_whose_work_another_does_ends_as_done():
    assert RestartDecision(None).exit_code == 0
    assert RestartDecision(AttemptResult("killed")).exit_code == 1


def test_a_job_keeps_its_nodes_after_a_killed_rank_unless_one_of_them_started_no_rank():
    killed = AttemptResult("killed", "rank 1 was killed")
    assert decide_restart(killed, max_restarts=1).after == "restart"
    assert decide_restart(killed, all_began=False, max_restarts=1).after == "requeue"
    assert decide_restart(killed, max_restarts=1).restarts
    assert not decide_restart(AttemptResult("failed"), max_restarts=1).restarts


def test_a_job_that_starts_again_gives_up_after_too_many_attempts():
    assert result_without_progress("train", without_progress=1, max_restarts=1) is None
    result = result_without_progress("train", without_progress=2, max_restarts=1)
    assert result is not None and result.outcome == "killed"
    assert result.reason == "2 attempts in a row left no newer checkpoint, and resources.train.max_restarts=1"


def test_a_result_says_each_reason_once():
    result = AttemptResult("stopped", "SIGUSR2", ended_at=5.0)
    assert with_reason(result, "no progress") == AttemptResult(
        "stopped", "SIGUSR2; no progress", ended_at=5.0
    )
    assert with_reason(result, "") == with_reason(result, "SIGUSR2") == result


def test_slurm_knows_which_attempts_it_has_preempted():
    attempts = [
        attempt(1, "", "stopped", "SIGTERM"),
        attempt(2, "", "stopped", "SIGUSR2", start=1),
        attempt(3, "", "killed", "rank 1 was killed", start=2),
        attempt(4, "", start=3),
    ]
    perhaps = perhaps_preempted(attempts)
    assert [one.begin.number for one in perhaps] == [1, 4]
    assert preempted_attempts(perhaps, {}) == [1, 4], "Slurm does not say"
    assert preempted_attempts(perhaps, {"12.0": "PREEMPTED", "12.1": "PREEMPTED", "12.3": "NODE_FAIL"}) == [1]


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


def test_progress_is_where_the_furthest_checkpoint_is_whatever_clocks_say(tmp_path: Path):
    assert progress_mark(tmp_path) == ""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    names = ("epoch=0-batch=9-step=9.ckpt", "epoch=0-batch=10-step=10.ckpt", "epoch=1-step=12.ckpt")
    for at, name in enumerate(names):
        (folder / name).touch()
        os.utime(folder / name, (9 - at, 9 - at))  # each by a node whose clock is further behind
        (folder / "last.ckpt").touch()
        assert progress_mark(tmp_path) == name
