"""One attempt of a stage as files: how it began, and how it ended, for anybody who asks later."""

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet3.rundir.files.json_file import from_plain, read_dataclass, write_dataclass
from espnet3.rundir.files.private import make_private
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.outcome import Outcome, TaskState, read_task_states

BEGIN, END = "begin.json", "end.json"


@dataclass(frozen=True)
class Begin:
    """What is known when the tasks of an attempt are started: `begin.json` in its directory."""

    stage: str
    number: int
    launcher: str
    world_size: int
    launched_by: dict[str, Any]
    """The process that starts the tasks and watches them: see ProcessName."""
    job: str = ""
    """The submitted job that it is an attempt of, by the name of its folder."""
    slurm_job_id: str = ""
    nodes: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    """What the user had typed."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that every task gets: threads, and where the ranks meet."""
    stop_at: float | None = None
    """When every task asks itself to stop, in seconds since the epoch: ahead of the job's time limit."""
    stop_within_s: float = 0.0
    """How long a task that is asked to stop may take before it ends itself; 0: as long as it wants."""
    progress: str = ""
    """Stands for the newest checkpoint there was; see `progress_mark`."""
    started_at: float = field(default_factory=time.time)


@dataclass(frozen=True)
class AttemptResult:
    """How an attempt ended, or a job by its last one: `end.json`. Without it, it runs or was killed.

    Made by the functions of `outcomes`; written, read and shown by everybody else.
    """

    outcome: Outcome
    reason: str = ""
    """Why, in one line: the signal that asked it to stop, the error, the rank that was killed."""
    ended_at: float = field(default_factory=time.time)
    restarts: bool = False
    """The job starts again."""
    rank: int | None = None
    """The rank that was the cause: the first that failed or was killed."""
    log: str = ""
    """What that rank printed."""


@dataclass(frozen=True)
class Attempt:
    """An attempt as it can be read from its directory."""

    directory: Path
    begin: Begin
    result: AttemptResult | None

    @property
    def states(self) -> list[TaskState]:
        """The states of the tasks that have begun."""
        return read_task_states(self.directory)

    @property
    def launcher(self) -> ProcessName:
        """The process that watches it."""
        return from_plain(ProcessName, self.begin.launched_by)


def write_begin(directory: Path, begin: Begin) -> None:
    """Make the attempt's directory (0700: who can write there can run code as the user) and describe it."""
    make_private(directory)
    write_dataclass(directory / BEGIN, begin)


def write_result(directory: Path, result: AttemptResult) -> None:
    """Write down how it ended."""
    write_dataclass(directory / END, result)


def read_attempt(directory: Path) -> Attempt | None:
    """The attempt in `directory`; None where nothing readable is."""
    begin = read_dataclass(Begin, directory / BEGIN)
    return (
        None if begin is None else Attempt(directory, begin, read_dataclass(AttemptResult, directory / END))
    )


def attempt_dirs(exp_dir: Path, stage: str | None = None) -> list[Path]:
    """The directory of every attempt of `stage` (or of all) in a run directory, in no order."""
    named = [
        (path, re.fullmatch(r"(.+)-(\d+)", path.name))
        for path in (exp_dir / "attempts").glob(f"{stage or '*'}-*")
    ]
    return [path for path, name in named if name and stage in (None, name[1])]


def read_attempts(exp_dir: Path, stage: str | None = None) -> list[Attempt]:
    """Every attempt of `stage` (or of all) in a run directory, in the order they began."""
    read = (read_attempt(path) for path in attempt_dirs(exp_dir, stage))
    found = [attempt for attempt in read if attempt is not None]
    return sorted(found, key=lambda attempt: (attempt.begin.started_at, attempt.begin.number))


def progress_mark(home: Path) -> str:
    """The name of the newest checkpoint in the run directory `home`, which says where it is; empty: none.

    An attempt that is stopped inside the validation that it began with writes the one it came from again.
    """
    named = [path for path in (home / "checkpoints").glob("*.ckpt") if path.name != "last.ckpt"]
    return max(named, key=_changed_at).name if named else ""


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
