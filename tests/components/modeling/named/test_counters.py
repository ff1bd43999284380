"""When an optimizer contributes and updates follows from its own accepted batches alone."""

import pytest

from espnet3.components.modeling.named.counters import Counters, Turn
from espnet3.components.modeling.named.loss_scale import LossScale


def _turns(iterations, *, k, n):
    counters, turns = Counters(), {}
    for iteration in range(1, iterations + 1):
        turns[iteration] = counters.accept(k, n)
        if turns[iteration] is Turn.UPDATE:
            counters.used(updated=True)
    return {
        "contributions": [i for i, turn in turns.items() if turn is not Turn.IDLE],
        "updates": [i for i, turn in turns.items() if turn is Turn.UPDATE],
        "counters": counters.state_dict(),
    }


@pytest.mark.parametrize(
    ("k", "n", "contributions", "updates"),
    [
        (1, 1, [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8]),
        (2, 1, [1, 2, 3, 4, 5, 6, 7, 8], [2, 4, 6, 8]),
        (1, 2, [2, 4, 6, 8], [2, 4, 6, 8]),
        (2, 2, [2, 4, 6, 8], [4, 8]),
        (3, 2, [2, 4, 6, 8], [6]),
    ],
)
def test_every_nth_iteration_contributes_and_every_kth_contribution_updates(k, n, contributions, updates):
    seen = _turns(8, k=k, n=n)
    assert (seen["contributions"], seen["updates"]) == (contributions, updates)
    hold_directory = len(contributions) - k * len(updates)
    assert seen["counters"] == {"iterations": 8, "accum_counter": hold_directory, "update_step": len(updates)}


def test_counters_go_on_from_their_state():
    whole, first, second = Counters(), Counters(), Counters()
    turns = [whole.accept(3, 2) for _ in range(5)]
    again = [first.accept(3, 2) for _ in range(3)]
    second.load_state_dict(first.state_dict())
    again += [second.accept(3, 2) for _ in range(2)]
    assert again == turns and second == whole


def test_contributions_that_overflowed_are_gone_but_are_no_update():
    counters = Counters()
    counters.accept(1, 1)
    counters.used(updated=False)
    assert counters == Counters(iterations=1, accum_counter=0, update_step=0)


def test_the_loss_scale_backs_off_at_an_overflow_and_grows_after_2000_good_updates():
    scale = LossScale()
    scale.update(overflow=True)
    assert scale.scale == 32768.0
    for _ in range(1999):
        scale.update(overflow=False)
    assert scale.scale == 32768.0
    restored = LossScale()
    restored.load_state_dict(scale.state_dict())
    restored.update(overflow=False)
    assert restored.scale == 65536.0
