"""Submits arrays within Slurm's limits, beyond which sbatch blocks for minutes and then fails."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet3.errors import UserError
from espnet3.launcher.submit.submission import NoRoom
from espnet3.number_text import counted
from espnet3.slurm.queue import own_jobs
from espnet3.slurm.site.limits import read_limits
from espnet3.sweep.jobs.submit import ArrayRequest, array_problem, submit_part
from espnet3.terminal.screen import Screen

_OUR_SHARE = 0.9
"""Share of MaxJobCount that we use; the number of other users' jobs is not known."""
_SMALL_SHARE = 0.1
"""Up to this share of MaxJobCount the queue is not queried before submission."""


@dataclass(frozen=True)
class WaitingArray:
    """An array that is not yet submitted."""

    part: ArrayRequest
    name: str
    """Its job name."""
    after: list[str]
    """Ids of jobs that it depends on."""


@dataclass(frozen=True)
class SubmissionResult:
    """The result of a submission."""

    names: list[str] = field(default_factory=list)
    """Names of submitted trials."""
    arrays: list[str] = field(default_factory=list)
    """Ids of their arrays."""
    waiting: list[WaitingArray] = field(default_factory=list)
    """Arrays for which there was no room."""

    @property
    def left(self) -> int:
        """Number of trials for which there was no room."""
        return len(self.left_names)

    @property
    def left_names(self) -> list[str]:
        """Names of these trials."""
        return [name for array in self.waiting for name in array.part.trials]


def submit_some(
    sweep: Path, waiting: Sequence[WaitingArray], *, force: bool, command: list[str], screen: Screen
) -> SubmissionResult:
    """Submit arrays in order, split where needed; the caller has locked the sweep.

    Raises:
        UserError: Slurm refuses, or does not answer; earlier submissions stay queued, and are named.
    """
    names: list[str] = []
    arrays: list[str] = []
    left = list(waiting)
    try:
        room = _room(sum(len(array.part.elements) for array in left)) if left else 0
        while left and room > 0:
            array = left.pop(0)
            part, rest = array.part.split(min(room, len(array.part.elements)))
            limit = array_problem(sweep, part, array.name)
            try:
                if limit is not None:
                    raise NoRoom(str(limit))
                job_id = submit_part(
                    sweep, part, name=array.name, after=array.after, force=force, command=command
                )
            except NoRoom:
                if len(part.elements) == 1 and not any(job.in_queue for job in own_jobs()):
                    raise  # there never will be room
                room = len(part.elements) // 2
                left.insert(0, array)
                continue
            arrays.append(job_id)
            names += part.trials
            room -= len(part.elements)
            count = len(part.trials)
            screen.line(f"{counted(count, 'trial')}: submitted as array {job_id}")
            if rest.elements:
                left.insert(0, WaitingArray(rest, array.name, array.after))
    except UserError as error:
        if not arrays:
            raise
        raise UserError(
            f"{counted(len(names), 'trial')} queued (array {', '.join(arrays)}); the others are not: {error}"
        ) from error
    outcome = SubmissionResult(names, arrays, left)
    if left:
        screen.line(f"waiting for room: {counted(outcome.left, 'trial')}; Slurm takes no more jobs now")
    return outcome


def _room(count: int) -> int:
    """How many more jobs can be submitted; finished jobs count until Slurm drops them (MinJobAge)."""
    limits = read_limits()
    if count <= _SMALL_SHARE * limits.jobs:
        return count
    return max(0, int(_OUR_SHARE * limits.jobs) - len(own_jobs()))
