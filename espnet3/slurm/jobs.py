"""Tests a batch script (`sbatch --test-only`), cancels jobs, and changes what jobs wait for."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from espnet3.slurm.command import ask


def test_script(script: Path) -> None:
    """Check that Slurm would accept the job (`sbatch --test-only`); nothing is queued.

    Raises:
        SlurmAway: Slurm does not answer.
        UserError: it would refuse the job; the message is Slurm's own.
    """
    ask(["sbatch", "--test-only", str(script)])


def cancel_jobs(job_ids: Sequence[str]) -> None:
    """Cancel jobs; jobs that have already ended are ignored.

    Raises:
        SlurmAway, UserError: Slurm does not answer, or refuses.
    """
    if job_ids:
        ask(["scancel", "--quiet", *job_ids])


def cancel_jobs_named(name: str) -> None:
    """Cancel the user's jobs of this name, as `cancel_jobs`."""
    ask(["scancel", "--quiet", f"--user={os.geteuid()}", f"--name={name}"])


def wait_for_another(job_id: str, other_id: str) -> None:
    """Have the user's pending jobs that wait for `job_id` wait for `other_id` in its place.

    Raises:
        SlurmAway, UserError: Slurm does not answer, or refuses.
    """
    lines = ask(["squeue", "--me", "--states=PENDING", "--noheader", "--format=%F|%E"]).splitlines()
    for line in dict.fromkeys(lines):
        waiting, _, dependency = line.strip().partition("|")
        changed = re.sub(rf"(?<![\w.]){re.escape(job_id)}(_\*)?(?![\w.])", other_id, dependency)
        if waiting not in (job_id, other_id) and changed != dependency:
            changed = re.sub(r"\(\w+\)", "", changed)  # such as (unfulfilled)
            ask(["scontrol", "update", f"JobId={waiting}", f"Dependency={changed}"])
