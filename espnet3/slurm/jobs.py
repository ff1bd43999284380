"""What Slurm is asked to do with jobs, besides taking them: try a script out, cancel."""

import os
from collections.abc import Sequence
from pathlib import Path

from espnet3.slurm.command import ask


def test_script(script: Path) -> None:
    """Ask whether Slurm would take the job; nothing is queued.

    Raises:
        SlurmAway: it does not answer.
        UserError: it would not, in its own words.
    """
    ask(["sbatch", "--test-only", str(script)])


def cancel_jobs(job_ids: Sequence[str]) -> None:
    """Cancel jobs; those that are over already don't matter.

    Raises:
        SlurmAway, UserError: Slurm does not answer, or refuses.
    """
    if job_ids:
        ask(["scancel", "--quiet", *job_ids])


def cancel_jobs_named(name: str) -> None:
    """Cancel the user's jobs of this name, as `cancel_jobs`."""
    ask(["scancel", "--quiet", f"--user={os.geteuid()}", f"--name={name}"])
