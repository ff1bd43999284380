"""How an attempt ended, from the states of its ranks."""

import pytest

from espnet3.outcomes.attempt import (
    aborted_result,
    attempt_outcome,
    attempt_result,
    first_failure,
    launch_cause,
    unwatched_result,
    with_cause,
)
from espnet3.outcomes.exit_code import exit_code
from espnet3.outcomes.restart import decide_restart
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.outcome import TaskState


def state(
    rank: int, outcome=None, ended_at: float | None = None, *, peer_lost: bool = False, **more
) -> TaskState:
    log = f"/log/{rank}"
    return TaskState(rank, {}, log, outcome=outcome, ended_at=ended_at, peer_lost=peer_lost, **more)


def failed(rank: int, message: str, at: float, *, peer_lost: bool = False) -> TaskState:
    return state(rank, "failed", at, peer_lost=peer_lost, message=message)


def test_a_training_diverges_on_all_ranks_and_is_not_restarted():
    reason = "diverged at epoch 2, batch 29: no batch from there on had a finite loss"
    states = [state(rank, "failed", 5.0 - rank, message=reason, diverged=True) for rank in range(2)]
    result = attempt_result(states, 2)
    assert (result.outcome, result.reason) == ("failed", reason)
    assert decide_restart(result, max_restarts=9).after == "exit"
    assert exit_code(result) == 1


def test_tasks_that_can_not_be_started_have_failed_and_are_not_tried_again():
    result = attempt_result([], 2, start_error="execve(): nothing_here: No such file or directory")
    assert result.outcome == "failed" and "nothing_here" in result.reason
    assert decide_restart(result, without_progress=1, max_restarts=3).after == "exit"
    lost = attempt_result([], 2)
    assert lost.outcome == "killed"
    assert decide_restart(lost, all_began=False, without_progress=1, max_restarts=3).after == "requeue"
    assert attempt_result([state(0, "done"), state(1, "done")], 2, start_error="x").outcome == "done"


def test_all_ranks_must_be_done():
    assert attempt_outcome([state(0, "done"), state(1, "done")], 2) == "done"
    assert attempt_outcome([state(0, "done")], 2) == "killed"
    assert attempt_outcome([state(0, "done"), state(1, "stopped")], 2) == "stopped"


def test_a_rank_that_lost_a_killed_peer_has_not_failed_by_itself():
    killed, lost = state(0), state(1, "failed", 5.0, peer_lost=True)
    assert attempt_outcome([killed, lost], 2) == "killed"
    assert attempt_outcome([state(0, "done"), lost], 2) == "failed"  # nobody was killed: it is told as it is


def test_an_error_of_the_users_code_is_a_failure_also_where_its_peers_were_killed():
    states = [state(0), state(1, "failed", 5.0), state(2, "failed", 4.0, peer_lost=True)]
    assert attempt_outcome(states, 3) == "failed"
    failure = first_failure(states)
    assert failure is not None and failure.rank == 1


def test_ranks_that_were_ended_after_another_was_lost_are_not_those_that_were_killed():
    assert attempt_outcome([state(0, "done"), state(1)], 2, ended={1}) == "done"
    assert attempt_outcome([state(0), state(1)], 2, ended={1}) == "killed"
    assert attempt_outcome([state(0, "done")], 2, ended={1}) == "done", "ended before it began"
    assert attempt_outcome([state(0, "done"), state(1, "done")], 3, ended={1}) == "killed", (
        "rank 2 is missing"
    )
    assert attempt_outcome([], 1, ended={0}) == "killed"


LOST = failed(0, "connection closed", 4.0, peer_lost=True)


@pytest.mark.parametrize(
    ("states", "stop_reason", "result"),
    [
        ([state(0, "done"), state(1, "done")], None, ("done", "", None, "")),
        ([state(0, "done"), state(1, "done")], "SIGINT", ("done", "", None, "")),
        ([LOST, failed(1, "ValueError: no", 5.0)], None, ("failed", "rank 1: ValueError: no", 1, "/log/1")),
        (
            [state(0), failed(1, "ValueError: no", 5.0)],
            None,
            ("failed", "rank 1: ValueError: no", 1, "/log/1"),
        ),
        ([LOST, state(1, node="node2")], None, ("killed", "rank 1 was killed on node2", 1, "/log/1")),
        ([state(0), state(1)], None, ("killed", "ranks 0, 1 were killed", 0, "/log/0")),
        ([LOST, state(1, "done")], None, ("failed", "rank 0: connection closed", 0, "/log/0")),
        ([state(0, "done")], None, ("killed", "rank 1 ended before it began", 1, "")),
        ([], None, ("killed", "rank 0 ended before it began", 0, "")),
        ([], "SIGTERM", ("stopped", "SIGTERM", None, "")),
        ([state(0, "stopped", asked_by="SIGUSR2"), state(1, "done")], None, ("stopped", "SIGUSR2", None, "")),
        (
            [state(0, "stopped", asked_by="SIGUSR2"), state(1, "stopped")],
            "SIGTERM",
            ("stopped", "SIGTERM", None, ""),
        ),
    ],
)
def test_an_attempt_ends_as_its_ranks_did_for_the_reason_of_the_rank_that_was_the_cause(
    states, stop_reason, result
):
    found = attempt_result(states, 2, stop_reason=stop_reason)
    assert (found.outcome, found.reason, found.rank, found.log) == result


def test_a_killed_rank_is_named_with_its_node_and_what_killed_it_in_a_line_of_a_terminal():
    by = {0: "SIGKILL", 1: "SIGKILL", 2: "SIGSEGV"}
    result = attempt_result([state(0), LOST, state(2, node="node2")], 3, ended={0}, killed_by=by)
    assert result.reason == "rank 2 was killed on node2 by SIGSEGV"
    result = attempt_result([state(rank, node=f"node{rank}") for rank in range(64)], 64, killed_by=by)
    assert result.reason.startswith("ranks 0, 1, 2, 3 and 60 more were killed on node0, node1, ")
    assert len(result.reason) < 2 * 80 and result.reason.endswith(" and 60 more by SIGKILL, SIGSEGV")


def test_of_those_that_were_ended_nobody_says_they_were_killed():
    result = attempt_result([state(0), LOST, state(2)], 3, ended={2})
    assert (result.outcome, result.reason) == ("killed", "rank 0 was killed")


def test_of_an_attempt_that_nobody_followed_only_an_error_gives_the_reason():
    assert (
        unwatched_result([state(0)], 1).outcome == "killed" and unwatched_result([state(0)], 1).reason == ""
    )
    result = unwatched_result([state(0), failed(1, "ValueError: no", 5.0)], 2)
    assert (result.outcome, result.reason, result.rank) == ("failed", "rank 1: ValueError: no", 1)


def test_what_its_own_process_has_aborted_was_killed():
    assert (aborted_result().outcome, aborted_result().reason) == ("killed", "a second Ctrl-C")
    assert aborted_result(OSError("no space\nleft")).reason == "OSError: no space"


def test_where_only_connections_were_lost_nobody_is_said_to_be_killed():
    states = [state(0), failed(1, "Connection refused", 4.0, peer_lost=True), state(2)]
    result = attempt_result(states, 3, perhaps_ended={0, 2})
    assert (result.outcome, result.rank) == ("killed", 1), "it may start again"
    assert result.reason == "rank 1 lost the connection to another rank: Connection refused"
    result = attempt_result(states, 3, perhaps_ended={0})
    assert (result.reason, result.rank, result.log) == ("rank 2 was killed", 2, "/log/2")


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (
            [
                "srun: error: node1: task 0: Exited with exit code 1",
                "slurmstepd: error: Can't propagate RLIMIT_NOFILE of 1048576 from submit host: not permitted",
                "slurmstepd: error: *** STEP 12.0 ON node1 CANCELLED AT 2026-11-24T15:01:25 ***",
            ],
            "Can't propagate RLIMIT_NOFILE of 1048576 from submit host: not permitted",
        ),
        (
            [
                "Traceback (most recent call last):",
                "ImportError: no torch",
                "srun: error: n1: task 0: Exited",
            ],
            "ImportError: no torch",
        ),
        (["srun: error: n1: tasks 0-3: Killed"], "n1: tasks 0-3: Killed"),
        (["srun: Job step aborted: Waiting up to 32 seconds for job step to finish."], ""),
        ([], ""),
    ],
)
def test_the_cause_is_what_slurm_or_a_rank_has_printed_and_not_that_it_has_ended(lines, cause: str):
    assert launch_cause(lines) == cause
    result = with_cause(AttemptResult("killed", "rank 0 ended before it began"), lines)
    assert result.reason == "rank 0 ended before it began" + (f": {cause}" if cause else "")


def test_that_a_killed_rank_was_killed_is_said_once():
    killed = AttemptResult("killed", "ranks 2, 3 were killed on node2")
    assert with_cause(killed, ["srun: error: node1: task 0: Killed"]) == killed
