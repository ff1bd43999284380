"""The user's jobs and their states, from one squeue call."""

from collections.abc import Iterable
from dataclasses import dataclass

from espnet3.slurm.command import ask

IN_QUEUE = frozenset(
    (
        *("PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "STOPPED", "SIGNALING"),
        *(
            "REQUEUED",
            "REQUEUE_FED",
            "REQUEUE_HOLD",
            "RESIZING",
            "SPECIAL_EXIT",
            "STAGE_OUT",
            "RESV_DEL_HOLD",
        ),
    )
)
"""States of a job that has not ended."""
SHOWN_AFTER_S = 2.0
"""squeue may show a job only this long after a command has submitted it."""
TOKEN = "espnet3:"
"""Prefix of the tokens that our jobs carry as their comment."""
_FORMAT = "%i|%T|%r|%N|%S|%k"


@dataclass(frozen=True)
class SlurmJob:
    """A job as squeue or sacct shows it."""

    job_id: str
    state: str
    """PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, TIMEOUT, NODE_FAIL, PREEMPTED, OUT_OF_MEMORY, …"""
    reason: str = ""
    """Why it is pending, as Slurm prints it."""
    nodes: str = ""
    start: str = ""
    """When it started, or when Slurm expects it to."""
    comment: str = ""
    """Our token; the comment of a job that has none."""

    @property
    def in_queue(self) -> bool:
        """Whether it is pending, running or completing."""
        return self.state in IN_QUEUE


def own_jobs() -> list[SlurmJob]:
    """The user's jobs: in the queue or ended a few minutes ago. One squeue call.

    Raises:
        SlurmAway, UserError: see `ask`.
    """
    lines = ask(["squeue", "--me", "--states=all", "--noheader", "--array", f"--format={_FORMAT}"])
    jobs = []
    for line in lines.splitlines():
        words = line.strip().split("|", 5)
        if len(words) == 6:
            blank = ["" if word in ("(null)", "N/A", "None") else word for word in words]
            _, _, element = blank[0].partition("_")
            blank[5] = token_in(blank[5])
            if element and blank[5]:
                blank[5] = element_token(blank[5], element)
            jobs.append(SlurmJob(blank[0], words[1], *blank[2:]))
    return jobs


def find_job(jobs: Iterable[SlurmJob], job_id: str, token: str) -> SlurmJob | None:
    """The job with this id, or if `job_id` is empty, with this token as its comment.

    A reinstalled Slurm starts its ids again: a job with this id and another token of ours is another job.
    """
    for job in jobs:
        is_other = bool(token) and job.comment.startswith(TOKEN) and job.comment != token
        if (job.job_id == job_id and not is_other) if job_id else (bool(token) and job.comment == token):
            return job
    return None


def token_in(comment: str) -> str:
    """Our token in a comment, before which a site may want words of its own; else the comment."""
    last = comment.rpartition(" ")[2]
    return last if last.startswith(TOKEN) else comment


def element_token(token: str, element: int | str) -> str:
    """The token of one array element: all elements of an array carry the same comment."""
    return f"{token}[{element}]"
