"""Asks sacct how jobs and their earlier starts ended, for jobs that squeue no longer shows."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from espnet3.errors import UserError
from espnet3.slurm.command import ask
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
    except UserError:
        return {}
    jobs = {}
    for line in lines:
        words = line.split("|")
        if len(words) == 4:
            state, _, user = words[1].partition(" by ")  # CANCELLED by 1000
            jobs[words[0]] = SlurmJob(words[0], state, f"by {user}" if user else "", *words[2:])
    return jobs


def states_by_start(ids: Iterable[str]) -> dict[str, str]:
    """Slurm's state of each start of jobs: "123.0", "123.1", …; empty when sacct does not answer.

    One sacct call.
    """
    return {start: rows[-1][0].split()[0] for start, rows in _rows_by_start(ids, "State").items()}


@dataclass(frozen=True)
class StartTimes:
    """When Slurm queued, started and ended a job, in seconds since the epoch; None: it has not yet."""

    submitted_at: float
    began_at: float | None
    ended_at: float | None


def times_by_start(ids: Iterable[str]) -> dict[str, StartTimes]:
    """The times of each start of jobs: "123.0", "123.1", …; empty when sacct does not answer.

    One sacct call.
    """
    known = {}
    for start, rows in _rows_by_start(ids, "State,Submit,Start,End").items():
        submitted, began, ended = _seconds(rows[0][1]), _seconds(rows[0][2]), _seconds(rows[-1][3])
        if submitted is not None:
            known[start] = StartTimes(submitted, began, ended)
    return known


def _rows_by_start(ids: Iterable[str], columns: str) -> dict[str, list[list[str]]]:
    """What sacct says of each start of jobs; several rows where it has lost nodes, and went on.

    Args:
        ids: of jobs, or of elements of arrays, of which the whole array is asked for.
        columns: the first is State.
    """
    queried_ids = sorted({job_id.partition("_")[0] for job_id in ids})
    if not queried_ids:
        return {}
    command = f"sacct --duplicates --allocations --noheader --parsable2 --format=JobID,{columns} -j"
    try:
        lines = ask([*command.split(), ",".join(queried_ids)], timeout_s=20.0).splitlines()
    except UserError:
        return {}
    starts: Counter[str] = Counter()
    found: dict[str, list[list[str]]] = {}
    for line in lines:
        job_id, *row = line.strip().split("|")
        if len(row) == len(columns.split(",")) and row[0]:
            found.setdefault(f"{job_id}.{starts[job_id]}", []).append(row)
            starts[job_id] += not row[0].startswith("RESIZING")
    return found


def _seconds(stamp: str) -> float | None:
    """Slurm's local time "2026-11-24T15:01:25" in seconds since the epoch; None if it is not a time."""
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None  # Unknown, None
