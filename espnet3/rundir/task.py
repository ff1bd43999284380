"""The argument and the result of a stage function."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.rundir.heartbeat import Heartbeat
from espnet3.rundir.stop import StopFlag
from espnet3.rundir.watch.activity import Activity

Collectives = Callable[[], tuple[int, int] | None]
"""How many collectives a rank has started, and how many of them are completed; None: not known."""


def _nobody_asks(collectives: Collectives) -> None:
    """The task has no watcher."""


@dataclass(frozen=True)
class Task:
    """One process (rank) of a job that runs one stage."""

    stage: str
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    num_nodes: int = 1
    stop: StopFlag = field(default_factory=StopFlag)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    activity: Activity = field(default_factory=Activity)
    """What it is in, for its watcher."""
    tell_collectives: Callable[[Collectives], None] = _nobody_asks
    """Gives its watcher the function to ask."""

    @classmethod
    def single(cls, stage: str) -> "Task":
        """A task of one rank whose heartbeat writes nowhere."""
        return cls(stage=stage)


@dataclass(frozen=True)
class StageResult:
    """The result of a finished stage."""

    summary: str
    """A few words for the line at the end of the stage: "2,000 utterances"."""
    where: Path
    """The main file or folder of the result."""
    outputs: list[Path] = field(default_factory=list)
    """Files that other stages or users need: when one is gone, the stage runs again."""
    inputs: list[Path] = field(default_factory=list)
    """Files it read: when one has changed, the stage runs again."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Shown in a table at the end of the run."""
