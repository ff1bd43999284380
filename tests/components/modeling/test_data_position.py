"""Where training goes on, over checkpoints and numbers of ranks."""

from espnet3.components.data.loading.batching import Deal
from espnet3.components.modeling.data_position import DataPosition


def resumed(position: DataPosition, saved_by: int, world_size: int) -> DataPosition:
    other = DataPosition()
    other.load_state_dict(position.state_dict(saved_by), world_size)
    return other


def test_it_is_the_batch_after_the_last_one_and_then_the_next_epoch():
    position = DataPosition()
    position.after_batch(2, 4)
    assert (position.epoch, position.batch) == (2, 5)
    assert position.after_epoch(2) is False, "the next epoch is as long"
    assert (position.epoch, position.batch) == (3, 0)


def test_a_state_is_the_position_again_and_one_that_says_nothing_the_start():
    position = DataPosition()
    position.after_batch(1, 6)
    again = resumed(position, 2, 2)
    assert (again.epoch, again.batch, again.dealt_before) == (1, 7, ())
    again.load_state_dict({}, 2)
    assert (again.epoch, again.batch, again.dealt_before) == (0, 0, ())


def test_parts_of_an_epoch_that_other_numbers_of_ranks_had_are_kept_apart():
    position = DataPosition()
    position.after_batch(0, 2)
    on_four = resumed(position, 2, 4)
    assert on_four.dealt_before == (Deal(2, 3),)
    on_four.after_batch(0, 7)
    on_one = resumed(on_four, 4, 1)
    assert (on_one.batch, on_one.dealt_before) == (8, (Deal(2, 3), Deal(4, 5)))
    assert resumed(on_four, 4, 4).dealt_before == (Deal(2, 3),), "its own part goes on"
    assert on_one.after_epoch(0) is True, "the next epoch has another length"
    assert on_one.dealt_before == ()
