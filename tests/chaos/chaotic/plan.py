"""What a seed draws: the disturbances of one training. Pure, so that a seed that fails repeats."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

MOST_FAULTS = 3
MOST_BATCHES_BETWEEN = 12
CLOCKS_OFF_S = (0.0, 0.0, -40.0, -3.0, 3.0, 40.0)
FSYNC_TAKES_S = (0.0, 0.0, 0.0, 0.05, 0.3)


@dataclass(frozen=True)
class Step:
    """One fault of a training."""

    after: int
    """It comes when this many batches have been trained since the one before was over."""
    fault: str
    draw: int
    """Seeds what the fault itself chooses: the rank, the node, how long."""


@dataclass(frozen=True)
class Plan:
    """All that disturbs one training."""

    seed: int
    clock_off_s: float
    """The clock of a training's second node differs from the others' by this."""
    fsync_s: float
    """Every fsync of the run's processes takes this long, as on a slow disk."""
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        clock = f"a clock off by {self.clock_off_s:+g} s" if self.clock_off_s else ""
        disk = f"fsync takes {self.fsync_s:g} s" if self.fsync_s else ""
        faults = " > ".join(f"{step.after} batches > {step.fault}" for step in self.steps)
        return ", ".join(filter(None, (clock, disk, faults)))


def plan(seed: int, faults: Sequence[str]) -> Plan:
    """The plan of a seed, with faults of these names."""
    random = Random(f"chaos:{seed}")
    clock, fsync = random.choice(CLOCKS_OFF_S), random.choice(FSYNC_TAKES_S)
    steps = [
        Step(random.randint(1, MOST_BATCHES_BETWEEN), random.choice(faults), random.getrandbits(32))
        for _ in range(random.randint(1, MOST_FAULTS))
    ]
    return Plan(seed, clock, fsync, tuple(steps))
