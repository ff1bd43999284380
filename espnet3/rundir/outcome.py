"""How an attempt of a task ended, as a small file that anybody may read."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from espnet3.rundir.atomic import write_json

Outcome = Literal["done", "failed", "stopped", "killed"]

EXIT_CODES: dict[Outcome, int] = {"done": 0, "failed": 1, "killed": 1, "stopped": 75}
"""75 is EX_TEMPFAIL: to be continued."""


@dataclass(frozen=True)
class TaskState:
    """One task (rank) of one attempt: written when it starts and again when it ends."""

    rank: int
    process: dict[str, Any]
    """Host, pid and start time: see ProcessName."""
    log: str
    started_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    outcome: Outcome | None = None
    """None while it runs; a task that is gone and has none was killed."""
    message: str = ""
    """One line that says why it failed or stopped."""
    traceback: str = ""
    peer_lost: bool = False
    """It failed because another rank was gone: that one is the cause."""
    asked_by: str = ""
    """The signal that asked a stopped task to stop."""
    node: str = ""
    """The node it ran on, as Slurm names it."""


def task_state_path(attempt: Path, rank: int) -> Path:
    """Where the state of `rank` is kept in the directory of its attempt."""
    return attempt / f"rank-{rank}.json"


def write_task_state(attempt: Path, state: TaskState) -> None:
    """Replace the state file of one rank, atomically."""
    write_json(task_state_path(attempt, state.rank), asdict(state))


def read_task_states(attempt: Path) -> list[TaskState]:
    """The states of all ranks that have written one, by rank."""
    states = []
    for path in attempt.glob("rank-*.json"):
        try:
            states.append(TaskState(**json.loads(path.read_text())))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(states, key=lambda state: state.rank)
