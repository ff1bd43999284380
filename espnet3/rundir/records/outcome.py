"""The possible outcomes, and the state file of each rank of an attempt."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.files.reading import files_in
from espnet3.rundir.process import ProcessName

Outcome = Literal["done", "failed", "stopped", "killed"]

EXIT_CODES: dict[Outcome, int] = {"done": 0, "failed": 1, "killed": 1, "stopped": 75}
"""75 is EX_TEMPFAIL: the stage can be continued."""


@dataclass(frozen=True)
class TaskState:
    """One task (rank) of one attempt: written when it starts and again when it ends."""

    rank: int
    process: Annotated[dict[str, Any], ProcessName]
    """Host, pid and start time: see ProcessName."""
    log: str
    started_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    outcome: Outcome | None = None
    """None while it runs; a task whose process is gone without an outcome was killed."""
    message: str = ""
    """Why it failed or stopped, in one line."""
    traceback: str = ""
    peer_lost: bool = False
    """Whether it failed because another rank, the cause, was gone."""
    diverged: bool = False
    """Whether it failed because its training has diverged, on all ranks alike."""
    asked_by: str = ""
    """The signal that asked a stopped task to stop."""
    node: str = ""
    """The node it ran on, as Slurm names it."""


def task_state_path(attempt: Path, rank: int) -> Path:
    """The state file of `rank` in the directory of its attempt."""
    return attempt / f"rank-{rank}.json"


def write_task_state(attempt: Path, state: TaskState) -> None:
    """Replace the state file of one rank, atomically."""
    write_dataclass(task_state_path(attempt, state.rank), state)


def read_task_states(attempt: Path) -> list[TaskState]:
    """The states of all ranks that have begun, by rank."""
    found = (read_dataclass(TaskState, path) for path in files_in(attempt, "rank-*.json"))
    return sorted((state for state in found if state), key=lambda state: state.rank)
