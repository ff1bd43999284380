"""What tests of sweeps share."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from espnet3.config.compose import find_recipe
from espnet3.sweep.command import plan_sweep
from espnet3.sweep.jobs.plan import Batch, plan_batches
from espnet3.sweep.trials.expand import Expansion, expand
from espnet3.sweep.trials.trial import Base, Trial


@pytest.fixture
def expanded(small_recipe: Path) -> Callable[..., Expansion]:
    """Expand a command line of the small recipe."""
    return lambda *overrides: expand(find_recipe(small_recipe), overrides)


@dataclass
class PlannedTrials:
    """Trials of which nothing is written."""

    sweep: Path
    trials: list[Trial]
    bases: dict[str, Base]

    def batches(self, stages: Sequence[str] = ("train", "validate")) -> list[Batch]:
        """Those that run together."""
        return plan_batches(self.sweep, self.trials, self.bases, stages)


@pytest.fixture
def planned(expanded: Callable[..., Expansion]) -> Callable[..., PlannedTrials]:
    """Trials of the small recipe by a command line."""

    def plan(*overrides: str) -> PlannedTrials:
        made = plan_sweep(
            expanded(*overrides), ["train", "validate"], "run.sh -m", lambda name, own: "run.sh"
        )
        return PlannedTrials(made.sweep, made.trials, made.bases)

    return plan


@pytest.fixture
def verb() -> Callable[..., tuple[int, str]]:
    """Run another verb of the command line: exit code and output."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "espnet3", *map(str, arguments)],
            capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run
