"""Runs one of Slurm's commands and returns its output, or raises why there is none."""

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from functools import partial

from espnet3.errors import UserError
from espnet3.parent_death import signal_on_parent_death
from espnet3.slurm.environment import clean_environment

TRANSIENT = (
    *("Unable to contact slurm controller", "Connection refused", "Socket timed out", "timed out"),
    *("temporarily unable to accept", "Zero Bytes were transmitted", "Communication connection failure"),
    *("Transport endpoint is not connected", "Resource temporarily unavailable"),
)
"""Messages of Slurm's commands when the controller is temporarily unavailable."""


_SUBMIT_LIMIT = re.compile(r"\b\w*Submit\w*Limit\b|\bMaxSubmit\w*")
"""A limit on the jobs in the queue, by Slurm's name: AssocMaxSubmitJobLimit, QOSGrpSubmitJobsLimit, …"""
_ANY_LIMIT = "job submit limit"
"""In the message for a limit of any kind, which does not always have a name."""
_NAMED_LIMIT = re.compile(r"\b(Assoc|QOS)\w+")

TIMEOUT_S = 60.0


class SlurmAway(UserError):
    """Slurm's controller does not answer; the message is Slurm's own."""


class SubmitLimit(UserError):
    """The user, the account or the QOS may have no more jobs in the queue; the message is Slurm's own."""

    @property
    def is_of_qos(self) -> bool:
        """Whether it counts the jobs in a QOS, by its name: QOSMaxSubmitJobPerUserLimit."""
        return bool(re.search(r"\bQOS\w*Submit", str(self)))

    @property
    def is_of_account(self) -> bool:
        """Whether it counts the jobs of an account: AssocMaxSubmitJobLimit."""
        return bool(re.search(r"\bAssoc\w*Submit", str(self)))


def ask(command: Sequence[str], *, timeout_s: float = TIMEOUT_S, dies_with_us: bool = False) -> str:
    """Standard output of one of Slurm's commands; with `dies_with_us` it is killed when this process dies.

    Raises:
        SlurmAway: the controller does not answer, or not in time.
        SubmitLimit: it takes no more jobs now.
        UserError: the command is not on PATH, or fails; the message is Slurm's own.
    """
    try:
        done = subprocess.run(
            list(command),
            capture_output=True, env=clean_environment(), timeout=timeout_s, check=False,
            encoding="utf-8", errors="replace",  # comments of other people's jobs are in any encoding
            preexec_fn=partial(signal_on_parent_death, signal.SIGKILL, os.getpid()) if dies_with_us else None,
        )  # fmt: skip
    except FileNotFoundError:
        raise UserError(
            f"{command[0]} is not on PATH: launcher=slurm works where Slurm's commands are, on a login node"
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmAway(f"{command[0]} did not answer within {timeout_s:.0f} s") from None
    if done.returncode == 0:
        return done.stdout
    message = _in_one_line(done.stderr or done.stdout) or f"exit code {done.returncode}"
    if any(sign in message for sign in TRANSIENT):
        raise SlurmAway(message)
    raise SubmitLimit(message) if _is_submit_limit(message) else UserError(message)


def _is_submit_limit(message: str) -> bool:
    if _SUBMIT_LIMIT.search(message):
        return True
    return _ANY_LIMIT in message and not _NAMED_LIMIT.search(message)


def _in_one_line(text: str) -> str:
    """Slurm's message without the name of the command before each line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines
    return "; ".join(line.split(": error: ")[-1].removeprefix("sbatch: ") for line in errors)
