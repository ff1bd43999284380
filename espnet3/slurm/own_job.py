"""The Slurm job that this process is in: when its time is up, whether Slurm ends it, starting it again."""

import os
import subprocess
import time
from contextlib import suppress

from espnet3.errors import UserError
from espnet3.slurm.command import SlurmAway, ask
from espnet3.slurm.patience import ask_patiently
from espnet3.slurm.scontrol import fields
from espnet3.slurm.site.partitions import parse_partitions

ENDED_WITHIN_S = 600.0
"""How long a job that was sent SIGTERM waits, at least, for Slurm to end it."""
LOOK_EVERY_S = 2.0
BEING_ENDED = ("COMPLETING", "CANCELLED", "PREEMPTED", "PENDING", "REQUEUED", "REQUEUE_HOLD")
"""States of a job that Slurm is about to end, whatever this process does."""
GOES_ON_S = 30.0
"""Slurm shows that it ends a job before it sends the signal; one that runs on for so long is not ended."""
PATIENCE_S = 600.0
"""How long a job that must start again tries to tell Slurm so."""


def stop_at(delay_s: int) -> float | None:
    """When this job's tasks are to save ahead of the time limit; None where Slurm does not say when that is.

    The signal that sbatch is asked for comes too, but is lost on a step that has not begun yet.
    """
    try:
        shown = ask(["scontrol", "--oneliner", "show", "job", own_slurm_job_id()])
        return time.mktime(time.strptime(fields(shown)["EndTime"], "%Y-%m-%dT%H:%M:%S")) - delay_s
    except (UserError, KeyError, ValueError):
        return None


def requeue(job_id: str) -> None:
    """Have Slurm start this job again; it ends this process.

    Raises:
        UserError: Slurm refuses, or does not answer for a long time.
    """
    try:
        ask_patiently(["scontrol", "requeue", job_id], patience_s=PATIENCE_S)
    except SlurmAway as error:
        raise UserError(f"job {job_id} could not be started again: {error}") from error
    time.sleep(ENDED_WITHIN_S)


def wait_for_slurm(job_id: str) -> bool:
    """Whether Slurm ends this job, whose tasks were sent SIGTERM; returns when that is known.

    Then Slurm decides whether the job starts again. A job that is preempted runs on for its time of grace,
    and is over if it ends in it. In any other case it is being ended already, and its nodes are free the
    sooner the sooner this process ends. False where it is neither: the signal came from somewhere else. (One
    way: slurmctld sends a node once more what it has not answered to in time, such as the end of a step in an
    earlier start of this job.)
    """
    began = time.monotonic()
    grace = _grace_s()
    while (waited := time.monotonic() - began) < grace:
        with suppress(SlurmAway, UserError):
            shown = ask(["squeue", "--noheader", "--jobs", job_id, "--Format=State: ,PreemptTime: "]).split()
            if not shown or shown[0] in BEING_ENDED:
                return True
            if shown == ["RUNNING", "N/A"] and waited > GOES_ON_S:
                return False
        time.sleep(LOOK_EVERY_S)
    return True


def _grace_s() -> float:
    """How long Slurm may take to end a job that it has sent SIGTERM: the partition's GraceTime and more."""
    try:
        shown = ask(
            ["scontrol", "--oneliner", "show", "partition", os.environ.get("SLURM_JOB_PARTITION", "")]
        )
    except (SlurmAway, UserError):
        return ENDED_WITHIN_S
    return max([ENDED_WITHIN_S, *(60.0 + partition.grace_s for partition in parse_partitions(shown))])


def own_slurm_job() -> str:
    """The Slurm job that this process runs in, and which start of it: "123.0"; empty outside of any.

    An element of an array is named as squeue does: "123_4.0".
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job and "SLURM_ARRAY_TASK_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return f"{job}.{os.environ.get('SLURM_RESTART_COUNT', '0')}" if job else ""


def own_slurm_job_id() -> str:
    """As `own_slurm_job`, without which start it is: "123", "123_4"; empty outside of any."""
    return own_slurm_job().partition(".")[0]


def is_first_start() -> bool:
    """Whether the job that this process is in was not started before."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") == "0"


def own_array_element() -> tuple[str, int]:
    """Id of the array that this job is an element of, and which one."""
    return os.environ["SLURM_ARRAY_JOB_ID"], int(os.environ["SLURM_ARRAY_TASK_ID"])


def running_start(job: str) -> str | None:
    """Which start of a Slurm job runs; "" when none does, None when Slurm does not answer."""
    try:
        done = subprocess.run(
            ["scontrol", "--oneliner", "show", "job", job],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return "" if "Invalid job id" in done.stderr else None
    shown = fields(done.stdout)
    is_running = shown.get("JobState") in ("RUNNING", "COMPLETING", "CONFIGURING", "STOPPED")
    return shown.get("Restarts", "0") if is_running else ""
