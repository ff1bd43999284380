"""Submit a job to Slurm exactly once: a stage's, an array of trials, a search, the doctor's probe.

The steps are the same for all of them. The caller describes the job in its folder, with a new token
(`new_token`); `try_out` checks everything before the first job is queued; `submit` writes the script, has
submitit's executor call sbatch, and notes the id in the folder. A command that dies in between leaves a
token by which the job is found in the queue, and the job notes its own id (`rundir.job.duplicate_of`).
"""

import os
import tempfile
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from espnet3.errors import UserError, cannot_write, short_path
from espnet3.launcher.submit.precheck import check_limits, check_script
from espnet3.launcher.submit.request import JobRequest
from espnet3.rundir.records.job import SCRIPT, write_submission
from espnet3.slurm.command import SlurmAway
from espnet3.slurm.environment import other_clusters
from espnet3.slurm.jobs import test_script
from espnet3.slurm.queue import TOKEN
from espnet3.slurm.retry import SlurmRetry
from espnet3.slurm.site.partitions import read_partitions
from espnet3.stage_table import label

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle


class SubmissionRefused(UserError):
    """A job that can't be submitted: its script is wrong, or Slurm refuses it."""


def new_token() -> str:
    """A new unique id, which a job has as its comment in Slurm."""
    return f"{TOKEN}{uuid.uuid4().hex[:12]}"


def try_out(requests: Sequence[JobRequest]) -> None:
    """Check every script and have sbatch test it without submitting; leaves no files behind.

    Raises:
        SubmissionRefused: names what is wrong, or has Slurm's message.
        SlurmAway: Slurm does not answer.
    """
    if elsewhere := other_clusters(os.environ):
        raise SubmissionRefused(
            f"{elsewhere}: jobs are submitted to this login node's own cluster only: unset"
            f" {elsewhere.partition('=')[0]}, or log in to the other cluster"
        )
    retry = SlurmRetry()
    with tempfile.TemporaryDirectory(prefix="espnet3-") as temporary:
        scripts = [Path(temporary) / f"{number}.sh" for number in range(len(requests))]
        for request, script in zip(requests, scripts, strict=True):
            script.write_text(request.script, encoding="utf-8")
        try:
            partitions = retry.until_answered(read_partitions)
            for request, script in zip(requests, scripts, strict=True):
                check_script(script, request.resources, request.where)
                check_limits(request.resources, partitions, request.where)
        except SlurmAway:
            raise
        except UserError as error:
            raise SubmissionRefused(str(error)) from error
        for request, script in zip(requests, scripts, strict=True):
            try:
                retry.until_answered(partial(test_script, script))
            except SlurmAway:
                raise
            except UserError as error:
                raise SubmissionRefused(
                    f"Slurm refuses the job of {label(request.stage)}: {error}"
                ) from error


def submit(request: JobRequest) -> "JobHandle":
    """Submit a job that is described in its folder, exactly once, and write its id there.

    Raises:
        SubmissionRefused: with Slurm's message.
        SlurmAway: Slurm does not answer; the job may be in the queue.
        UserError: the script can't be written.
    """
    from espnet3.launcher.submit.job_handle import JobHandle

    script = request.folder / SCRIPT
    try:
        job = request.executor().submit_command()
    except OSError as error:
        raise cannot_write(error, script) from error
    except SlurmAway as error:
        raise SlurmAway(f"{error}. When it is back, {request.when_back}") from error
    except UserError as error:
        raise SubmissionRefused(f"Slurm refuses {short_path(script)}: {error}") from error
    assert isinstance(job, JobHandle)
    write_submission(request.folder, job.job_id)
    return job
