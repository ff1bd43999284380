"""How a rank ended, from what its stage raised."""

from espnet3.errors import Diverged, UserError
from espnet3.outcomes.lost_peer import is_lost_peer
from espnet3.outcomes.rank import error_summary, rank_state, unsaved_state
from espnet3.rundir.records.outcome import TaskState
from espnet3.rundir.stop import Stopped

BEGUN = TaskState(1, {"pid": 7}, "/log", started_at=1.0)
GLOO = "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:45781."


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_stage_that_returns_is_done():
    state = rank_state(BEGUN, None, now=9.0)
    assert (state.outcome, state.ended_at, state.message) == ("done", 9.0, "")
    assert (state.rank, state.log, state.started_at) == (1, "/log", 1.0)


def test_a_stage_that_stops_names_the_signal():
    state = rank_state(BEGUN, Stopped("saved at 5"), now=9.0, asked_by="SIGUSR2")
    assert (state.outcome, state.message, state.asked_by) == ("stopped", "saved at 5", "SIGUSR2")
    assert rank_state(BEGUN, Stopped(), now=9.0, asked_by="SIGUSR2").message == "SIGUSR2"


def test_a_users_mistake_has_no_traceback_and_any_other_error_has():
    state = rank_state(BEGUN, raised(UserError("data.lang=xx: no such")), now=9.0)
    assert (state.outcome, state.message, state.traceback) == ("failed", "data.lang=xx: no such", "")
    state = rank_state(BEGUN, raised(ValueError("no\nmore")), now=9.0, world_size=2)
    assert (state.outcome, state.message, state.peer_lost) == ("failed", "ValueError: no", False)
    assert state.traceback.startswith("Traceback") and state.traceback.rstrip().endswith("more")


def test_a_training_that_diverged_has_no_traceback_and_is_marked():
    error = raised(Diverged("diverged at epoch 2, batch 29: weights are NaN or Inf"))
    error.raised_at = 5.0  # type: ignore[attr-defined]
    state = rank_state(BEGUN, error, now=9.0, world_size=2)
    assert (state.outcome, state.message, state.traceback) == ("failed", str(error), "")
    assert (state.diverged, state.peer_lost, state.ended_at) == (True, False, 5.0)


def test_only_one_of_several_ranks_can_lose_a_peer():
    assert rank_state(BEGUN, RuntimeError(GLOO), now=9.0, world_size=2).peer_lost
    assert not rank_state(BEGUN, RuntimeError(GLOO), now=9.0, world_size=1).peer_lost


def test_an_error_may_say_when_it_was_raised():
    error = ValueError("no")
    error.raised_at = 5.0  # type: ignore[attr-defined]
    assert rank_state(BEGUN, error, now=9.0).ended_at == 5.0
    assert error_summary(error) == "ValueError: no"
    assert error_summary(KeyError()) == "KeyError: "


def test_a_rank_that_did_not_save_in_time_is_to_be_continued():
    state = unsaved_state(BEGUN, within_s=44.6, asked_by="SIGUSR2", now=9.0)
    assert (state.outcome, state.message, state.ended_at) == ("stopped", "did not save within 45 s", 9.0)
    assert state.asked_by == "SIGUSR2"


def test_a_lost_peer_is_told_from_an_error_of_the_users():
    assert is_lost_peer(RuntimeError(GLOO))
    try:
        try:
            raise RuntimeError(GLOO)
        except RuntimeError as error:
            raise ValueError("while saving") from error
    except ValueError as error:
        assert is_lost_peer(error)
    assert not is_lost_peer(ValueError("connection closed by peer is a phrase"))
    assert not is_lost_peer(RuntimeError("shape mismatch"))


def test_a_message_that_goes_on_after_a_colon_keeps_its_reason():
    error = RuntimeError("Error in call to target 'model.Net':\nValueError('no -4')\nfull_key: model")
    assert error_summary(error) == "RuntimeError: Error in call to target 'model.Net': ValueError('no -4')"
    assert error_summary(ValueError("no\nmore")) == "ValueError: no"
    assert error_summary(ValueError("where:")) == "ValueError: where:"
    assert error_summary(ValueError("")) == "ValueError: "
