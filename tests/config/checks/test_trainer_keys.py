"""The names under `trainer:`, and what they take, are those of the installed Lightning."""

import inspect
import re
from typing import Any, get_args

import pytest
from lightning.fabric.plugins.precision.precision import (
    _PRECISION_INPUT_INT,
    _PRECISION_INPUT_STR,
    _PRECISION_INPUT_STR_ALIAS,
)
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import StrategyRegistry

from espnet3.config.checks.trainer_keys import (
    ARGUMENTS,
    PRECISIONS,
    SET_ELSEWHERE,
    STARTS_PROCESSES,
    STRATEGIES,
    check_trainer_keys,
)
from espnet3.errors import UserError


def test_every_argument_of_lightnings_trainer_is_known_once():
    known = [*ARGUMENTS, *SET_ELSEWHERE]
    assert sorted(known) == sorted(set(inspect.signature(Trainer.__init__).parameters) - {"self"})


def test_the_names_of_strategies_and_precisions_are_lightnings():
    names = StrategyRegistry.available_strategies()
    ours = {name for name in names if not any(word in name for word in STARTS_PROCESSES)}
    assert set(STRATEGIES) == ours | {"auto"}
    literals = [
        get_args(kind) for kind in (_PRECISION_INPUT_STR, _PRECISION_INPUT_STR_ALIAS, _PRECISION_INPUT_INT)
    ]
    assert set(PRECISIONS) == {value for kind in literals for value in kind}


WRONG: dict[str, list[Any]] = {
    "accelerator": ["gpus", 1, None],
    "strategy": ["nothing", "dpp", 3],
    "precision": ["banana", 8, 32.0, True],
    "devices": [0, -1, 1.5, "two"],
    "max_epochs": [1.5, -2, "all", True],
    "max_time": ["1 day", 3600],
    "limit_train_batches": [-1, 0, 0.0, 1.5, "all", True, float("nan")],
    "limit_val_batches": [-1, 1.5, "all", False],
    "val_check_interval": [0, -1, 0.0, 1.5, "often"],
    "check_val_every_n_epoch": [0, 0.5],
    "gradient_clip_val": [-1, "x", float("nan")],
    "gradient_clip_algorithm": ["norms", 2],
    "num_sanity_val_steps": [-2, 0.5],
    "deterministic": ["yes", 1],
    "profiler": ["smiple", True],
    "nonfinite_gradients": ["skipp", 1],
    "hang_timeout_s": ["never", 0, -1, 0.5, True, float("inf")],
    "float32_matmul_precision": ["tf32"],
}
RIGHT: dict[str, list[Any]] = {
    "accelerator": ["auto", "gpu", {"_target_": "mine.Accelerator"}],
    "strategy": ["auto", "ddp", {"_target_": "mine.Strategy"}],
    "precision": ["32-true", "bf16-mixed", 16, "16", None],
    "max_epochs": [None, -1, 0, 5],
    "max_time": ["00:12:00:00", None],
    "hang_timeout_s": ["auto", None, 1, 90.5],
    "limit_train_batches": [1, 1.0, 0.1, 500],
    "limit_val_batches": [0, 0.0, 1.0, 7],
    "val_check_interval": [1, 0.25, 1000, "00:00:30:00"],
    "gradient_clip_val": [None, 0, 5.0, float("inf")],
    "deterministic": ["warn", True, None],
    "profiler": ["simple", None, {"_target_": "mine.Profiler"}],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in WRONG.items() for value in values]
)
def test_a_value_that_lightning_would_refuse_later_is_refused(key: str, value: Any):
    with pytest.raises(UserError, match=rf"^trainer\.{key}={re.escape(str(value))}: takes "):
        check_trainer_keys({key: value})


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in RIGHT.items() for value in values]
)
def test_a_value_that_lightning_takes_is_taken(key: str, value: Any):
    check_trainer_keys({key: value})


def test_a_near_name_is_offered():
    with pytest.raises(UserError, match=r"did you mean bf16-mixed\?"):
        check_trainer_keys({"precision": "bf16mixed"})


def test_a_share_of_an_epoch_needs_epochs():
    with pytest.raises(UserError, match=r"trainer\.val_check_interval as a whole number"):
        check_trainer_keys({"val_check_interval": 0.5, "check_val_every_n_epoch": None})
