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
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from espnet3.errors import UserError, cannot_write, short_path
from espnet3.launcher.submit.precheck import check_limits, check_script
from espnet3.launcher.submit.request import JobRequest
from espnet3.rundir.records.job import SCRIPT, write_submission
from espnet3.slurm.command import SlurmAway, SubmitLimit
from espnet3.slurm.environment import other_clusters
from espnet3.slurm.jobs import test_script
from espnet3.slurm.queue import TOKEN
from espnet3.slurm.retry import SlurmRetry
from espnet3.slurm.site.choices import there_are
from espnet3.slurm.site.partitions import read_partitions
from espnet3.stage_table import label

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle


class SubmissionRefused(UserError):
    """A job that can't be submitted: its script is wrong, or Slurm refuses it."""


class NoRoom(SubmissionRefused):
    """A job that Slurm takes only when others have left the queue: a limit of the user, account or QOS."""


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
                kind = NoRoom if isinstance(error, SubmitLimit) else SubmissionRefused
                hint = there_are(str(error), partitions)
                raise kind(f"Slurm refuses the job of {label(request.stage)}: {error}{hint}") from error


def check_room(requests: Sequence[JobRequest]) -> None:
    """Check that the queue takes all of these jobs at once, under the user's and the QOS's limits.

    Slurm counts an array's elements as jobs, so an array is tested in their place; nothing is queued.

    Raises:
        NoRoom: it does not; names the limit.
        SlurmAway: Slurm does not answer.
    """
    for jobs in (list(group) for group in _counted_together(requests)):
        others = {(job.resources.partition, job.resources.account, job.resources.qos): job for job in jobs}
        for job in others.values() if len(jobs) > 1 else ():
            limit = room_problem(replace(job, array=f"0-{len(jobs) - 1}"))
            if limit is not None and _counts_all(limit, jobs):
                raise NoRoom(
                    f"{len(jobs)} jobs of one command are queued at once, which Slurm does not take now:"
                    f" {limit}: wait for your other jobs to end, or give fewer stages (--stop-stage)"
                )


def _counted_together(requests: Sequence[JobRequest]) -> list[list[JobRequest]]:
    """The jobs that a limit counts together: those of one account, and those of one QOS."""
    groups: dict[tuple[str, str | None], list[JobRequest]] = {}
    for request in requests:
        groups.setdefault(("account", request.resources.account), []).append(request)
        groups.setdefault(("qos", request.resources.qos), []).append(request)
    return list({tuple(map(id, group)): group for group in groups.values()}.values())


def _counts_all(limit: SubmitLimit, jobs: Sequence[JobRequest]) -> bool:
    """Whether `limit` counts all of `jobs`: one of a QOS those in it, one of an account those of it.

    A limit without a name may be either.
    """
    one_account, one_qos = (
        len({getattr(job.resources, key) for job in jobs}) == 1 for key in ("account", "qos")
    )
    return one_qos if limit.is_of_qos else one_account if limit.is_of_account else one_account and one_qos


def room_problem(request: JobRequest) -> SubmitLimit | None:
    """The limit for which Slurm would refuse a job or an array now; None if there is room."""
    with tempfile.TemporaryDirectory(prefix="espnet3-") as temporary:
        script = Path(temporary) / SCRIPT
        script.write_text(request.script, encoding="utf-8")
        try:
            SlurmRetry().until_answered(partial(test_script, script))
        except SubmitLimit as limit:
            return limit
        except SlurmAway:
            raise
        except UserError:
            return None  # what else is wrong, such as the size of the array, its submission says
    return None


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
        kind = NoRoom if isinstance(error, SubmitLimit) else SubmissionRefused
        raise kind(f"Slurm refuses {short_path(script)}: {error}") from error
    assert isinstance(job, JobHandle)
    write_submission(request.folder, job.job_id)
    return job
