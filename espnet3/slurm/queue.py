"""The user's jobs and their states, from one squeue call; and single jobs by their ids."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from espnet3.errors import UserError
from espnet3.slurm.command import SlurmAway, ask
from espnet3.slurm.scontrol import fields, indices

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
_HELD = ("REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
_UNKNOWN_JOB = ("Invalid job id", "not found")
_NOTHING = ("(null)", "N/A", "None", "Unknown")


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

    @property
    def hold(self) -> str:
        """Why it is held or suspended, and the command that ends that; empty where it is neither."""
        why = self.reason or self.state.lower()
        if self.state in ("SUSPENDED", "STOPPED"):
            return f"{why}: `scontrol resume {self.job_id}`, by an administrator"
        if self.state in _HELD or "held" in self.reason.lower():
            by = ", by an administrator" if self.reason == "JobHeldAdmin" else ""
            return f"{why}: `scontrol release {self.job_id}`{by}"
        return ""


def own_jobs(noted: Iterable[str] = ()) -> list[SlurmJob]:
    """The user's jobs: in the queue or ended a few minutes ago. One squeue call.

    Args:
        noted: ids of jobs that may be among them; see `jobs_by_id` for those that squeue does not list.

    Raises:
        SlurmAway, UserError: see `ask`.
    """
    jobs = _listed_jobs()
    listed = {job.job_id for job in jobs}
    listed |= {job_id.partition("_")[0] for job_id in listed}
    return [*jobs, *jobs_by_id(set(noted) - listed)]


def jobs_by_id(ids: Iterable[str]) -> list[SlurmJob]:
    """The jobs with these ids, as far as Slurm's controller knows them; one scontrol call for each array.

    For jobs that squeue does not list: those of a site or a user may filter, or answer from a cache. An
    array's id gives all its elements.

    Raises:
        SlurmAway, UserError: see `ask`.
    """
    wanted = set(ids)
    jobs = []
    for array in sorted({job_id.partition("_")[0] for job_id in wanted}):
        try:
            lines = ask(["scontrol", "--oneliner", "show", "job", array]).splitlines()
        except SlurmAway:
            raise
        except UserError as error:
            if any(sign in str(error) for sign in _UNKNOWN_JOB):
                continue
            raise
        jobs += [job for line in lines for job in _shown_jobs(fields(line)) if {job.job_id, array} & wanted]
    return jobs


def _shown_jobs(shown: Mapping[str, str]) -> list[SlurmJob]:
    """The job that scontrol shows in one line; of an array all its elements that wait."""
    if "JobId" not in shown:
        return []
    values = {key: "" if value in _NOTHING else value for key, value in shown.items()}
    job = SlurmJob(
        values["JobId"],
        values.get("JobState", ""),
        values.get("Reason", ""),
        values.get("NodeList", ""),
        values.get("StartTime", ""),
        values.get("Comment", ""),
    )
    if "ArrayJobId" not in values:
        return [job]
    return [
        replace(
            job,
            job_id=f"{values['ArrayJobId']}_{index}",
            comment=element_token(job.comment, index) if job.comment else "",
        )
        for index in indices(values.get("ArrayTaskId", ""))
    ]


def _listed_jobs() -> list[SlurmJob]:
    """The jobs that squeue lists."""
    lines = ask(["squeue", "--me", "--states=all", "--noheader", "--array", f"--format={_FORMAT}"])
    jobs = []
    for line in lines.splitlines():
        words = line.strip().split("|", 5)
        if len(words) == 6:
            blank = ["" if word in _NOTHING else word for word in words]
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
