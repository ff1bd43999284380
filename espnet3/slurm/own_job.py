"""The Slurm job that this process is in: its time limit, whether Slurm is ending it, and requeueing it."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from espnet3.errors import UserError
from espnet3.slurm.command import SlurmAway, ask
from espnet3.slurm.restarting.job_change import NO_CHANGE, JobChange, JobRequested, parse_requested
from espnet3.slurm.retry import ask_with_retries
from espnet3.slurm.scontrol import fields
from espnet3.slurm.site.partitions import parse_partitions

ENDS_WITHIN_S = 600.0
"""Minimum time in s that a job waits after SIGTERM for Slurm to end it."""
POLL_EVERY_S = 2.0
ENDING_STATES = ("COMPLETING", "CANCELLED", "PREEMPTED", "PENDING", "REQUEUED", "REQUEUE_HOLD")
"""States of a job that Slurm is already ending."""
NOT_ENDED_AFTER_S = 30.0
"""Slurm changes the state of a job before it sends the signal: one that still runs is not being ended."""
REQUEUE_TIMEOUT_S = 600.0
"""How long a job retries its `scontrol requeue`."""


def stop_at(delay_s: int) -> float | None:
    """Unix time at which this job's tasks save before the time limit; None if Slurm does not say.

    sbatch's --signal is sent as well, but a step that has not begun yet misses it.
    """
    try:
        shown = ask(["scontrol", "--oneliner", "show", "job", own_slurm_job_id()])
        return time.mktime(time.strptime(fields(shown)["EndTime"], "%Y-%m-%dT%H:%M:%S")) - delay_s
    except (UserError, KeyError, ValueError):
        return None


def is_ended_by_slurm(job_id: str) -> bool:
    """Whether Slurm is ending this job, other than for its time limit: cancelled, preempted, or a lost node.

    Slurm itself restarts the job then, if it is to restart: a cancelled job that requeues itself comes back.
    """
    try:
        shown = fields(ask(["scontrol", "--oneliner", "show", "job", job_id]))
    except UserError:
        return False
    return shown.get("JobState") in ENDING_STATES and shown.get("Reason") != "TimeLimit"


def is_requeueable() -> bool:
    """Whether Slurm would requeue this job; True if it does not say."""
    try:
        shown = fields(ask(["scontrol", "--oneliner", "show", "job", own_slurm_job_id()]))
    except UserError:
        return True
    return shown.get("Requeue") != "0"


def requested(job_id: str) -> JobRequested:
    """What this job asks for.

    Raises:
        SlurmAway, UserError: see `ask`.
    """
    return parse_requested(ask(["scontrol", "--oneliner", "show", "job", job_id]))


def requeue(job_id: str, change: JobChange = NO_CHANGE, say: Callable[[str], None] = print) -> None:
    """Requeue this job, with a change of what it asks for; Slurm then ends this process.

    Slurm changes the request of a job that waits, so of this one only when it is requeued. If it refuses the
    change, that is said, and the job starts again as it was.

    Raises:
        UserError: Slurm refuses, does not answer within REQUEUE_TIMEOUT_S, or goes on with the job.
    """
    if change:  # Slurm's SIGTERM comes while the change is made, and hits scontrol, too
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        ask_with_retries(["scontrol", "requeue", job_id], timeout_s=REQUEUE_TIMEOUT_S)
        if change:
            _update(job_id, change, say)
    except SlurmAway as error:
        raise UserError(f"job {job_id} could not be started again: {error}") from error
    finally:
        if change:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    # A command that a site has put in the place of scontrol may do nothing.
    deadline = time.monotonic() + NOT_ENDED_AFTER_S
    while time.monotonic() < deadline:
        time.sleep(POLL_EVERY_S)
        if is_ended_by_slurm(job_id):
            time.sleep(ENDS_WITHIN_S)
            return
    raise UserError(f"`scontrol requeue {job_id}` did not end the job")


def _update(job_id: str, change: JobChange, say: Callable[[str], None]) -> None:
    try:
        ask(["scontrol", "update", f"JobId={job_id}", *change.scontrol])
    except UserError as error:
        say(f"Slurm does not change what this job asks for ({' '.join(change.scontrol)}): {error}")


def wait_for_slurm(job_id: str) -> bool:
    """Whether Slurm ends this job, whose tasks were sent SIGTERM; returns when that is known.

    If True, Slurm decides whether the job starts again. A preempted job keeps running for its GraceTime; if
    it exits before that, Slurm does not requeue it, so this waits. In all other cases the job is being ended
    already, and this process should exit soon to free the nodes. False: the signal came from elsewhere. (For
    example, slurmctld resends to a node a request that it did not answer in time, such as the end of a step
    in an earlier start of this job.)
    """
    began = time.monotonic()
    grace = _grace_s()
    while (waited := time.monotonic() - began) < grace:
        with suppress(SlurmAway, UserError):
            shown = ask(["squeue", "--noheader", "--jobs", job_id, "--Format=State: ,PreemptTime: "]).split()
            if not shown or shown[0] in ENDING_STATES:
                return True
            if shown == ["RUNNING", "N/A"] and waited > NOT_ENDED_AFTER_S:
                return False
        time.sleep(POLL_EVERY_S)
    return True


def _grace_s() -> float:
    """Maximum time in s between SIGTERM and the end of a job: the partition's GraceTime plus a margin."""
    try:
        shown = ask(
            ["scontrol", "--oneliner", "show", "partition", os.environ.get("SLURM_JOB_PARTITION", "")]
        )
    except (SlurmAway, UserError):
        return ENDS_WITHIN_S
    return max([ENDS_WITHIN_S, *(60.0 + partition.grace_s for partition in parse_partitions(shown))])


def own_slurm_job() -> str:
    """Id and restart count of the Slurm job that this process runs in: "123.0"; empty outside of a job.

    For an array element as in squeue: "123_4.0".
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job and "SLURM_ARRAY_TASK_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return f"{job}.{os.environ.get('SLURM_RESTART_COUNT', '0')}" if job else ""


def own_slurm_job_id() -> str:
    """As `own_slurm_job`, without the restart count: "123", "123_4"; empty outside of a job."""
    return own_slurm_job().partition(".")[0]


def began_at() -> float:
    """When the step of this batch process began, in seconds since the epoch, by this node's clock.

    Slurm's own time of it, in whole seconds and by the controller's clock, is up to its prolog earlier.
    """
    try:
        stat = Path(f"/proc/{os.getsid(0)}/stat").read_text("utf-8", errors="replace")
        ticks = int(stat.rpartition(")")[2].split()[19])  # since the boot; the name may contain blanks
        uptime_s = float(Path("/proc/uptime").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return time.time()
    return time.time() - max(0.0, uptime_s - ticks / os.sysconf("SC_CLK_TCK"))


def number_of_nodes() -> int:
    """How many nodes this job has."""
    return int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))


def is_first_start() -> bool:
    """Whether the job that this process is in runs for the first time."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") == "0"


def own_array_index() -> int | None:
    """The index of this job in its array; None if it is not an element of one."""
    index = os.environ.get("SLURM_ARRAY_TASK_ID")
    return None if index is None else int(index)


def own_array_element() -> tuple[str, int]:
    """Id of the array of which this job is an element, and its index."""
    return os.environ["SLURM_ARRAY_JOB_ID"], int(os.environ["SLURM_ARRAY_TASK_ID"])


def running_start(job: str) -> str | None:
    """Restart count of a running Slurm job; "" when it does not run, None when Slurm does not answer."""
    try:
        shown = fields(ask(["scontrol", "--oneliner", "show", "job", job], timeout_s=30.0))
    except UserError as error:
        return "" if "Invalid job id" in str(error) else None
    is_running = shown.get("JobState") in ("RUNNING", "COMPLETING", "CONFIGURING", "STOPPED")
    return shown.get("Restarts", "0") if is_running else ""
