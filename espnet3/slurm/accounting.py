"""Asks sacct how jobs and their earlier starts ended, for jobs that squeue no longer shows."""

from collections.abc import Iterable

from espnet3.errors import UserError
from espnet3.slurm.command import SlurmAway, ask
from espnet3.slurm.queue import SlurmJob


def past_jobs(ids: Iterable[str]) -> dict[str, SlurmJob]:
    """Ended jobs by id, from sacct; empty when it does not answer. One sacct call.

    For an array element the whole array is queried, which keeps the list of ids short.
    """
    queried_ids = sorted({job_id.partition("_")[0] for job_id in ids})
    if not queried_ids:
        return {}
    fields = "JobID,State,NodeList,Start"
    command = [
        "sacct",
        "--allocations",
        "--noheader",
        "--parsable2",
        f"--format={fields}",
        "-j",
        ",".join(queried_ids),
    ]
    try:
        lines = ask(command, timeout_s=20.0).splitlines()
    except (SlurmAway, UserError):
        return {}
    jobs = {}
    for line in lines:
        words = line.split("|")
        if len(words) == 4:
            state, _, user = words[1].partition(" by ")  # CANCELLED by 1000
            jobs[words[0]] = SlurmJob(words[0], state, f"by {user}" if user else "", *words[2:])
    return jobs


def states_by_start(job_id: str) -> dict[int, str]:
    """Slurm's state of each start of a job, from 0 on; empty when sacct does not answer. One sacct call."""
    command = "sacct --duplicates --allocations --noheader --parsable2 --format=State -j"
    try:
        lines = ask([*command.split(), job_id], timeout_s=20.0).splitlines()
    except (SlurmAway, UserError):
        return {}
    return dict(enumerate(line.split()[0] for line in lines if line.strip()))
