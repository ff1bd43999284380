"""Ask Slurm: which jobs there are, in which state, and how those ended that it has forgotten."""

import os
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from espnet3.errors import UserError
from espnet3.launch.environment import clean_environment

TRANSIENT = (
    *("Unable to contact slurm controller", "Connection refused", "Socket timed out", "timed out"),
    *("temporarily unable to accept", "Zero Bytes were transmitted", "Communication connection failure"),
    *("Transport endpoint is not connected", "Resource temporarily unavailable"),
)
"""What Slurm's commands say when its controller is away for a while."""
TIMEOUT_S = 60.0
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
"""States of a job that is not over."""
TOKEN = "espnet3:"
"""How the tokens begin that jobs carry as their comment."""
_FORMAT = "%i|%T|%r|%N|%M|%S|%k"


class SlurmAway(UserError):
    """Slurm's controller does not answer; the message is its own."""


@dataclass(frozen=True)
class QueuedJob:
    """A job as squeue or sacct shows it."""

    job_id: str
    state: str
    """PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, TIMEOUT, NODE_FAIL, PREEMPTED, OUT_OF_MEMORY, …"""
    reason: str = ""
    """Why it waits, in Slurm's words."""
    nodes: str = ""
    elapsed: str = ""
    start: str = ""
    """When it started, or when Slurm expects it to."""
    comment: str = ""

    @property
    def in_queue(self) -> bool:
        """Whether it waits, runs or ends just now."""
        return self.state in IN_QUEUE


def ask(command: Sequence[str], *, timeout_s: float = TIMEOUT_S, dies_with_us: bool = False) -> str:
    """What one of Slurm's commands prints; with `dies_with_us` it does not outlive this process.

    Raises:
        SlurmAway: the controller does not answer, or not in time.
        UserError: the command is not there, or refuses; the message is Slurm's own.
    """
    try:
        done = subprocess.run(
            list(command),
            capture_output=True, text=True, env=clean_environment(), timeout=timeout_s, check=False,
            preexec_fn=partial(_die_with, os.getpid()) if dies_with_us else None,
        )  # fmt: skip
    except FileNotFoundError:
        raise UserError(
            f"{command[0]} is not on PATH: launcher=slurm works where Slurm's commands are, on a login node"
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmAway(f"{command[0]} did not answer within {timeout_s:.0f} s") from None
    if done.returncode == 0:
        return done.stdout
    said = _in_one_line(done.stderr or done.stdout) or f"exit code {done.returncode}"
    if any(sign in said for sign in TRANSIENT):
        raise SlurmAway(said)
    raise UserError(said)


def _die_with(parent: int) -> None:
    """In a child that is about to become a command: be killed when the parent is gone."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def own_jobs() -> list[QueuedJob]:
    """The user's jobs: those in the queue and those that ended a few minutes ago. One squeue call.

    Raises:
        SlurmAway, UserError: see `ask`.
    """
    lines = ask(["squeue", "--me", "--states=all", "--noheader", "--array", f"--format={_FORMAT}"])
    jobs = []
    for line in lines.splitlines():
        words = line.strip().split("|", 6)
        if len(words) == 7:
            blank = ["" if word in ("(null)", "N/A", "None") else word for word in words]
            _, _, element = blank[0].partition("_")
            if element and blank[6]:
                blank[6] = element_token(blank[6], element)
            jobs.append(QueuedJob(blank[0], words[1], *blank[2:]))
    return jobs


def find_job(jobs: Iterable[QueuedJob], job_id: str, token: str) -> QueuedJob | None:
    """A job among `jobs` by its id, or where nobody has noted that, by the token that it carries.

    Where Slurm was set up anew ids begin again: one that carries another token of ours is another job.
    """
    for job in jobs:
        is_other = bool(token) and job.comment.startswith(TOKEN) and job.comment != token
        if (job.job_id == job_id and not is_other) if job_id else (bool(token) and job.comment == token):
            return job
    return None


def element_token(token: str, element: int | str) -> str:
    """What tells an element of an array from the others, which all carry the same comment."""
    return f"{token}[{element}]"


def past_jobs(ids: Iterable[str]) -> dict[str, QueuedJob]:
    """How jobs ended, by id, from sacct; empty where it does not answer. One sacct call.

    Of an element of an array the whole array is asked for: the list of ids stays short.
    """
    wanted = sorted({job_id.partition("_")[0] for job_id in ids})
    if not wanted:
        return {}
    fields = "JobID,State,NodeList,Elapsed,Start"
    command = [
        "sacct",
        "--allocations",
        "--noheader",
        "--parsable2",
        f"--format={fields}",
        "-j",
        ",".join(wanted),
    ]
    try:
        lines = ask(command, timeout_s=20.0).splitlines()
    except (SlurmAway, UserError):
        return {}
    found = {}
    for line in lines:
        words = line.split("|")
        if len(words) == 5:
            state, _, who = words[1].partition(" by ")  # CANCELLED by 1000
            found[words[0]] = QueuedJob(words[0], state, f"by {who}" if who else "", *words[2:])
    return found


def _in_one_line(text: str) -> str:
    """Slurm's message without the name of the command before each line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines
    return "; ".join(line.split(": error: ")[-1].removeprefix("sbatch: ") for line in errors)
