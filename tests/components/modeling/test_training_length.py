"""From a Trainer's limits to updates of the parameters."""

from types import SimpleNamespace

import pytest

from espnet3.components.modeling.training_length import training_length


@pytest.mark.parametrize(
    ("limits", "per_epoch", "updates"),
    [
        ({"max_epochs": 3}, 10, 30),
        ({"max_epochs": 3, "accumulate_grad_batches": 4}, 3, 9),
        ({"max_epochs": 3, "max_steps": 12}, 10, 12),
        ({"max_epochs": -1, "max_steps": 12}, 10, 12),
        ({"max_epochs": 3, "limit_train_batches": 0.5}, 5, 15),
        ({"max_epochs": 3, "limit_train_batches": 4}, 4, 12),
    ],
)
def test_it_ends_where_the_first_limit_is_reached(limits, per_epoch, updates):
    usual = {"max_epochs": None, "max_steps": -1, "accumulate_grad_batches": 1, "limit_train_batches": 1.0}
    length = training_length(SimpleNamespace(**{**usual, **limits}), batches=10)
    assert (length.updates_per_epoch, length.updates) == (per_epoch, updates)


def test_a_training_without_end_is_refused():
    trainer = SimpleNamespace(max_epochs=-1, max_steps=-1, accumulate_grad_batches=1, limit_train_batches=1.0)
    with pytest.raises(ValueError, match="needs max_epochs or max_steps"):
        training_length(trainer, batches=10)
