"""The outcome of an attempt from the states of its ranks."""

from espnet3.rundir.outcome import TaskState, attempt_outcome, first_failure


def state(rank: int, outcome=None, ended_at: float | None = None, *, peer_lost: bool = False) -> TaskState:
    return TaskState(rank, {}, "", outcome=outcome, ended_at=ended_at, peer_lost=peer_lost)


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
