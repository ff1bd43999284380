"""What trials are compared by."""

import pytest
from omegaconf import OmegaConf

from espnet3.errors import UserError
from espnet3.sweep.trials.objective import Objective, read_objective


def config(mode: str = "min", objective: str | None = None, direction: str | None = None):
    checkpoint = {"monitor": "valid/loss", "mode": mode}
    return OmegaConf.create(
        {"checkpoint": checkpoint, "sweep": {"objective": objective, "direction": direction}}
    )


def test_by_default_what_the_checkpoints_are_chosen_by():
    assert read_objective(config()) == Objective("valid/loss", "minimize")
    assert read_objective(config("max")) == Objective("valid/loss", "maximize")
    assert read_objective(config("max", "valid/loss", "minimize")).direction == "minimize"
    assert read_objective(config(objective="valid/wer", direction="minimize")).metric == "valid/wer"


def test_a_metric_of_which_nobody_says_which_way_it_is_better_is_refused():
    with pytest.raises(
        UserError, match=r"sweep.objective=valid/acc: give sweep.direction=minimize or maximize"
    ):
        read_objective(config(objective="valid/acc"))


def test_better_is_as_the_direction_says():
    assert Objective("m", "minimize").is_better(1.0, 2.0) and not Objective("m", "minimize").is_better(
        2.0, 1.0
    )
    assert Objective("m", "maximize").is_better(2.0, 1.0)
