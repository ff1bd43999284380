"""The files of one attempt of a stage: how it began and how it ended."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from espnet3.rundir.files.json_file import from_plain, read_dataclass, write_dataclass
from espnet3.rundir.files.private import make_private
from espnet3.rundir.files.reading import files_in
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.outcome import Outcome, TaskState, read_task_states
from espnet3.stage_table import are_stages

BEGIN, END = "begin.json", "end.json"


@dataclass(frozen=True)
class Begin:
    """The description of an attempt when its tasks are started: `begin.json` in its directory."""

    stage: str
    number: int
    launcher: str
    world_size: int
    launched_by: Annotated[dict[str, Any], ProcessName]
    """The process that starts the tasks and watches them: see ProcessName."""
    job: str = ""
    """The submitted job that runs it, by the name of the job's folder."""
    slurm_job_id: str = ""
    nodes: list[str] = field(default_factory=list)
    gpus_per_node: int = 0
    spares: list[str] = field(default_factory=list)
    """Further nodes of the job, which are idle."""
    command: list[str] = field(default_factory=list)
    """The user's command line."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables of every task: threads, and the rendezvous of the ranks."""
    stop_at: float | None = None
    """When every task stops by itself, in seconds since the epoch: ahead of the job's time limit."""
    stop_within_s: float = 0.0
    """How long a task that is asked to stop may take before it exits; 0: no limit."""
    progress: str = ""
    """The newest checkpoint at the start; see `progress_mark`."""
    started_at: float = field(default_factory=time.time)


@dataclass(frozen=True)
class AttemptResult:
    """The result of an attempt, or of a job: `end.json`. Without this file it runs or was killed.

    Only the functions of `outcomes` make results.
    """

    outcome: Outcome
    reason: str = ""
    """Why, in one line: the signal that asked it to stop, the error, the rank that was killed."""
    ended_at: float = field(default_factory=time.time)
    restarts: bool = False
    """Whether the job restarts."""
    rank: int | None = None
    """The rank that was the cause: the first that failed or was killed."""
    log: str = ""
    """The log of that rank."""
    hung_at: str = ""
    """The batch in which it hung, if it was ended for that."""
    node: str = ""
    """The node that is to blame: the program has not failed there, its process was ended; empty: none is."""


@dataclass(frozen=True)
class Attempt:
    """An attempt as read from its directory."""

    directory: Path
    begin: Begin
    result: AttemptResult | None

    @property
    def states(self) -> list[TaskState]:
        """The states of the tasks that have begun."""
        return read_task_states(self.directory)

    @property
    def launcher(self) -> ProcessName:
        """The process that started its tasks and follows them."""
        return from_plain(ProcessName, self.begin.launched_by)


def write_begin(directory: Path, begin: Begin) -> None:
    """Make the attempt's directory and write its description; 0700, as its files are executed as the user."""
    make_private(directory)
    write_dataclass(directory / BEGIN, begin)


def write_result(directory: Path, result: AttemptResult) -> None:
    """Write the attempt's result."""
    write_dataclass(directory / END, result)


def read_attempt(directory: Path) -> Attempt | None:
    """The attempt in `directory`; None if its description is missing or unreadable."""
    begin = read_dataclass(Begin, directory / BEGIN)
    if begin is None or not are_stages([begin.stage]):
        return None
    return Attempt(directory, begin, read_dataclass(AttemptResult, directory / END))


def attempt_dirs(exp_dir: Path, stage: str | None = None) -> list[Path]:
    """The directory of every attempt of `stage` (or of all) in a run directory, in no order."""
    named = [
        (path, re.fullmatch(r"(.+)-(\d+)", path.name))
        for path in files_in(exp_dir / "attempts", f"{stage or '*'}-*")
    ]
    return [path for path, name in named if name and stage in (None, name[1])]


def read_attempts(exp_dir: Path, stage: str | None = None) -> list[Attempt]:
    """Every attempt of `stage` (or of all) in a run directory, in the order they began."""
    return in_order(read_attempt(path) for path in attempt_dirs(exp_dir, stage))


def in_order(read: Iterable[Attempt | None]) -> list[Attempt]:
    """The attempts that could be read, in the order they began."""
    attempts = [attempt for attempt in read if attempt is not None]
    return sorted(attempts, key=lambda attempt: (attempt.begin.started_at, attempt.begin.number))


def progress_mark(home: Path) -> str:
    """The name, with its position, of the furthest checkpoint in the run directory `home`; empty: none.

    An attempt stopped inside the validation with which it began writes its starting checkpoint again. Times
    of files don't count: several nodes write them, whose clocks may differ.
    """
    names = [path.name for path in files_in(home / "checkpoints", "*.ckpt") if path.name != "last.ckpt"]
    return max(names, key=_position, default="")


def _position(name: str) -> tuple[int, int, str]:
    """Epoch and batch in the name of a checkpoint."""
    numbers = {key: int(number) for key, number in re.findall(r"(epoch|batch)=(\d+)", name)}
    return numbers.get("epoch", -1), numbers.get("batch", 0), name
