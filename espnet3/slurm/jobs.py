"""Tests a batch script (`sbatch --test-only`) and cancels jobs."""

import os
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
