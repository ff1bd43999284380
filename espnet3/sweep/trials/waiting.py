"""The trials of a sweep that are not submitted for want of room in Slurm's queue: `arrays/waiting.json`."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet3.rundir.files.json_file import read_dataclass, write_dataclass


@dataclass(frozen=True)
class WaitingTrials:
    """The content of `waiting.json`."""

    names: list[str]
    force: bool
    command: str
    """The user's command line."""
    written_at: float = field(default_factory=time.time)


def note_waiting(
    sweep: Path, names: Sequence[str], *, of: Collection[str], force: bool, command: str
) -> None:
    """Write that the trials `names` wait, of those that a command has tried to submit; others stay noted."""
    waiting = [name for name in waiting_trials(sweep) if name not in of] + list(names)
    if waiting:
        _file(sweep).parent.mkdir(exist_ok=True)  # before the first array
        write_dataclass(_file(sweep), WaitingTrials(waiting, force, command))
    else:
        _file(sweep).unlink(missing_ok=True)


def forget_waiting(sweep: Path) -> None:
    """Let no trial wait any more."""
    _file(sweep).unlink(missing_ok=True)


def read_waiting(sweep: Path) -> WaitingTrials | None:
    """What was noted; None if no trial waits."""
    return read_dataclass(WaitingTrials, _file(sweep))


def waiting_trials(sweep: Path) -> list[str]:
    """Names of the trials that wait for room."""
    waiting = read_waiting(sweep)
    return waiting.names if waiting else []


def _file(sweep: Path) -> Path:
    return sweep / "arrays" / "waiting.json"
