"""Classes that trials are made of, before any of them is started."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from espnet3.errors import UserError
from espnet3.sweep.jobs.targets import with_different_targets
from espnet3.sweep.run import SweepOptions, plan_checked

OPTIONS = SweepOptions(["train", "validate"], "run.sh -m", force=False)


@pytest.fixture(autouse=True)
def prepared(small_recipe: Path) -> None:
    """What stage 0 would have made, and two models."""
    module = small_recipe / "nothing.py"
    module.write_text(f"{module.read_text()}class There(Here): ...\n")
    (small_recipe / "data").mkdir()
    (small_recipe / "data" / "train.jsonl").touch()


def test_a_class_of_any_trial_that_does_not_exist_is_said_before_the_first_runs(
    planned: Callable[..., Any],
):
    sweep = planned("model._target_=nothing.Here,nothing.Hear", "seed=1,2,3", "model.stats=x")
    with pytest.raises(UserError, match=r"^trial \S+: model\._target_=nothing\.Hear: .* did you mean Here"):
        plan_checked(sweep.sweep, sweep.trials, sweep.bases, OPTIONS)


def test_trials_that_differ_in_values_only_are_checked_once(planned: Callable[..., Any]):
    sweep = planned("model._target_=nothing.Here,nothing.There", "seed=1,2,3", "optimizer.lr=1,2")
    assert len(sweep.trials) == 12
    assert len(with_different_targets(sweep.trials)) == 2
