"""Submit as many arrays as Slurm has room for: beyond its limits sbatch blocks for minutes, then fails."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet3.errors import UserError
from espnet3.launcher.submit.submission import SubmissionRefused
from espnet3.slurm.limits import read_limits
from espnet3.slurm.queue import own_jobs
from espnet3.sweep.jobs.submit import ArrayRequest, submit_part
from espnet3.terminal.screen import Screen

OURS = 0.9
"""Share of the jobs that Slurm keeps which one user's may be; those of others are not known."""
_FEW = 0.1
"""So small a share is submitted without a look at the queue."""
_TOO_MANY = re.compile(r"job submit limit|MaxSubmit|SubmitLimit|SubmitJobs", re.IGNORECASE)
"""What sbatch says where a user, an account or a quality of service may have no more jobs in the queue."""


@dataclass(frozen=True)
class WaitingArray:
    """An array that is to be submitted."""

    part: ArrayRequest
    name: str
    """What it is called in squeue."""
    after: list[str]
    """Ids of jobs that it waits for."""


@dataclass(frozen=True)
class SubmissionResult:
    """What came of a submission."""

    names: list[str] = field(default_factory=list)
    """Trials that are queued now."""
    arrays: list[str] = field(default_factory=list)
    """Ids of their arrays."""
    waiting: list[WaitingArray] = field(default_factory=list)
    """What there was no room for."""

    @property
    def left(self) -> int:
        """How many trials there was no room for."""
        return sum(len(one.part.trials) for one in self.waiting)


def submit_some(
    sweep: Path, waiting: Sequence[WaitingArray], *, force: bool, command: list[str], screen: Screen
) -> SubmissionResult:
    """Submit arrays in order, parts of them if need be; the caller holds the sweep.

    Raises:
        UserError: Slurm refuses, or does not answer; what was queued before that stays, and is named.
    """
    names: list[str] = []
    arrays: list[str] = []
    left = list(waiting)
    try:
        room = _room(sum(len(one.part.elements) for one in left)) if left else 0
        while left and room > 0:
            one = left.pop(0)
            part, rest = one.part.split(min(room, len(one.part.elements)))
            try:
                job_id = submit_part(
                    sweep, part, name=one.name, after=one.after, force=force, command=command
                )
            except SubmissionRefused as error:
                if not _TOO_MANY.search(str(error)) or (len(part.elements) == 1 and not arrays):
                    raise
                room = len(part.elements) // 2 if len(part.elements) > 1 else 0
                left.insert(0, one)
                continue
            arrays.append(job_id)
            names += part.trials
            room -= len(part.elements)
            count = len(part.trials)
            screen.line(f"{count} trial{'s' * (count > 1)}: submitted as array {job_id}")
            if rest.elements:
                left.insert(0, WaitingArray(rest, one.name, one.after))
    except UserError as error:
        if not arrays:
            raise
        raise UserError(
            f"{len(names)} trials are queued (array {', '.join(arrays)}) and the others are not: {error}"
        ) from error
    outcome = SubmissionResult(names, arrays, left)
    if left:
        screen.line(f"{outcome.left} trials wait for room: Slurm takes no more jobs now")
    return outcome


def _room(wanted: int) -> int:
    """How many more jobs of ours Slurm has room for; what is finished counts until it is forgotten."""
    limits = read_limits()
    if wanted <= _FEW * limits.jobs:
        return wanted
    return max(0, int(OURS * limits.jobs) - len(own_jobs()))
