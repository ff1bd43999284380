"""The status of one stage of a run: the fields of `espnet3 status`, and the names of the states."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

State = Literal[
    "not started",
    "queued",
    "held",
    "blocked",
    "running",
    "restarting",
    "done",
    "stopped",
    "cancelled",
    "failed",
    "killed",
]
"""not started: described, but never submitted. held: held or suspended in Slurm. blocked: a job that it
waits for did not end as done. restarting: it has run, and will run again. stopped: it has saved, and can be
continued. killed: ended from outside, or by a signal, without time to save."""
AT_WORK: tuple[State, ...] = ("running", "restarting")
UNDER_WAY: tuple[State, ...] = ("queued", "held", *AT_WORK)
OVER_NOT_DONE: tuple[State, ...] = ("blocked", "stopped", "cancelled", "failed", "killed")
SAVED = "saved"
"""The reason of a stage that was cancelled and had time to save."""


@dataclass(frozen=True)
class StageStatus:
    """One stage of a run, as `espnet3 status` shows it."""

    run: Path
    stage: str
    state: State
    reason: str = ""
    """Slurm's reason if it waits, else why it ended."""
    diverged: bool = False
    """Whether it failed because its training has diverged."""
    launcher: str = ""
    job: str = ""
    """The name of its folder in `jobs/`."""
    job_id: str = ""
    slurm_state: str = ""
    slurm_reason: str = ""
    expected_start: str = ""
    """Slurm's estimate of the start time."""
    attempt: int | None = None
    nodes: list[str] = field(default_factory=list)
    spares: list[str] = field(default_factory=list)
    """Further nodes of the job, which are idle."""
    started_at: float | None = None
    """When the attempt began, in seconds since the epoch."""
    ended_at: float | None = None
    elapsed_s: float | None = None
    """Of the attempt."""
    trained: float | None = None
    """Of a training: the share of its time on nodes, of all attempts, that batches took; see `goodput`."""
    epoch: int | None = None
    max_epochs: int | None = None
    unit: str = ""
    """What `done` and `total` count: batch, utterance."""
    done: int | None = None
    total: int | None = None
    utterances_per_s: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    eta_s: float | None = None
    heartbeat_age_s: float | None = None
    log: str = ""
    """The log of rank 0."""
