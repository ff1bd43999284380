"""Submit stages to Slurm as a chain of jobs; whenever this process dies, no job is lost or queued twice."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from espnet3.config.secrets import saved_text
from espnet3.errors import cannot_write
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.planning.plan import Job
from espnet3.launcher.submit.request import JobRequest
from espnet3.launcher.submit.submission import SubmissionRefused, check_room, new_token, submit, try_out
from espnet3.rundir.layout import job_log, jobs_dir
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.job import SubmittedJob, new_job_name, next_time, read_job_id, write_job
from espnet3.slurm.jobs import cancel_jobs
from espnet3.slurm.queue import TOKEN
from espnet3.stage_table import STAGES
from espnet3.terminal.screen import Screen

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle


def submit_chain(
    jobs: Sequence[Job],
    config: DictConfig,
    *,
    force: Sequence[bool],
    command: list[str],
    after: "JobHandle | None" = None,
) -> "list[JobHandle]":
    """Submit `jobs`, each to start when the one before is done; call it within `submitting`.

    Side effects: a folder for each job in the run directory, with its description, configuration and script.

    Args:
        jobs: at least one.
        config: their configuration.
        force: for each job, whether it runs although it is done.
        command: the user's command line.
        after: a job of the run directory that the first job waits for.

    Raises:
        UserError: Slurm refuses one of them, with its own message; then none is queued.
        SlurmAway: it does not answer; what was queued before that stays, and `resume` goes on with it.
    """
    described = describe_chain(jobs, config, force=force, command=command, after=after.name if after else "")
    try:
        requests = [_request(to_submit, job, config) for to_submit, job in zip(described, jobs, strict=True)]
        try_out(requests)
        check_room(requests)
        return submit_described(described, jobs, config, known=[after] if after else [])
    except SubmissionRefused:
        cancel_jobs([job_id for job in described if (job_id := read_job_id(_folder(config, job)))])
        for job in described:
            _undo(job, config)
        raise


def try_out_chain(jobs: Sequence[Job], config: DictConfig) -> None:
    """Check, without writing anything, that Slurm would take the chain of `jobs` now.

    Raises:
        SubmissionRefused: it would not.
        SlurmAway: it does not answer.
    """
    folder = jobs_dir(Path(config.exp_dir))
    requests = [stage_request(job, config, folder / f"{job.stage}-1", new_token()) for job in jobs]
    try_out(requests)
    check_room(requests)


def describe_chain(
    jobs: Sequence[Job], config: DictConfig, *, force: Sequence[bool], command: list[str], after: str = ""
) -> list[SubmittedJob]:
    """Write the folder of each job, before the first is submitted; see `submit_chain`."""
    exp_dir, chain = Path(config.exp_dir), new_token()
    written_at = next_time(exp_dir)
    described = []
    for position, job in enumerate(jobs):
        folder_name = new_job_name(exp_dir, job.stage)
        to_submit = SubmittedJob(
            name=folder_name,
            stages=[job.stage],
            token=f"{chain}-{position}",
            chain=chain.removeprefix(TOKEN),
            position=position,
            after=after,
            force=force[position],
            command=command,
            chain_stages=[job.stage for job in jobs],
            max_restarts=job.resources.max_restarts,
            submitted_by=asdict(ProcessName.own()),
            written_at=written_at,
        )
        try:
            write_job(_folder(config, to_submit), to_submit, saved_text(config))
            (exp_dir / "logs" / job.stage).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(error, exp_dir) from error
        described.append(to_submit)
        after = folder_name
    return described


def submit_described(
    described: Sequence[SubmittedJob],
    jobs: Sequence[Job],
    config: DictConfig,
    known: "Sequence[JobHandle]" = (),
) -> "list[JobHandle]":
    """Submit the described jobs, except those that are `known` to be queued.

    Raises:
        UserError: Slurm refuses.
        SlurmAway: it does not answer; what was queued before that stays.
    """
    queued = {handle.name: handle for handle in known}
    for to_submit, job in zip(described, jobs, strict=True):
        if to_submit.name not in queued:
            after = [queued[to_submit.after].job_id] if to_submit.after in queued else []
            queued[to_submit.name] = submit(_request(to_submit, job, config, after))
    return [queued[to_submit.name] for to_submit in described]


@contextmanager
def submitting(exp_dir: Path, screen: Screen) -> Iterator[None]:
    """Be the only process that submits jobs of a run directory, even while a job holds the directory."""
    try:
        with hold_directory(jobs_dir(exp_dir), screen, wait=True):
            yield
    finally:
        with suppress(OSError):  # not empty: jobs were submitted
            jobs_dir(exp_dir).rmdir()


def job_name(config: DictConfig, stage: str) -> str:
    """The job's name in squeue: "asr.default.2-train"."""
    return f"{Path(config.recipe_dir).name}.{config.tag}.{STAGES[stage].number}-{stage}".replace(" ", "_")


def stage_request(
    job: Job, config: DictConfig, folder: Path, token: str, after: Sequence[str] = ()
) -> JobRequest:
    """The request for a stage's job."""
    return JobRequest(
        job.resources,
        folder,
        name=job_name(config, job.stage),
        token=token,
        output=job_log(Path(config.exp_dir), job.stage, "%j"),
        stage=job.stage,
        after=after,
        module=job.module,
    )


def _undo(job: SubmittedJob, config: DictConfig) -> None:
    """Remove the files that `describe_chain` has made for a job that is not submitted."""
    folder, logs = _folder(config, job), Path(config.exp_dir) / "logs" / job.stage
    shutil.rmtree(folder, ignore_errors=True)
    for empty in (folder.parent, logs, logs.parent):
        with suppress(OSError):  # not empty
            empty.rmdir()


def _folder(config: DictConfig, job: SubmittedJob) -> Path:
    return jobs_dir(Path(config.exp_dir)) / job.name


def _request(to_submit: SubmittedJob, job: Job, config: DictConfig, after: Sequence[str] = ()) -> JobRequest:
    return stage_request(job, config, _folder(config, to_submit), to_submit.token, after)
