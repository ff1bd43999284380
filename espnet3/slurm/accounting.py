"""Ask sacct how jobs, and their earlier starts, ended that squeue has forgotten."""

from collections.abc import Iterable

from espnet3.errors import UserError
from espnet3.slurm.command import SlurmAway, ask
from espnet3.slurm.queue import SlurmJob


def past_jobs(ids: Iterable[str]) -> dict[str, SlurmJob]:
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
            found[words[0]] = SlurmJob(words[0], state, f"by {who}" if who else "", *words[2:])
    return found


def states_by_start(job_id: str) -> dict[int, str]:
    """Slurm's state of each start of a job, from 0 on; empty where it does not answer. One sacct call."""
    command = "sacct --duplicates --allocations --noheader --parsable2 --format=State -j"
    try:
        lines = ask([*command.split(), job_id], timeout_s=20.0).splitlines()
    except (SlurmAway, UserError):
        return {}
    return dict(enumerate(line.split()[0] for line in lines if line.strip()))
