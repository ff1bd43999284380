"""Submit stages to Slurm as a chain of jobs: none is queued twice or lost, whenever this process dies."""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from espnet3.config.secrets import saved_text
from espnet3.errors import UserError, short_path
from espnet3.launch.partitions import parse_partitions
from espnet3.launch.patience import Patience
from espnet3.launch.plan import Job, Resources
from espnet3.launch.precheck import check_limits, check_script
from espnet3.launch.queue import TOKEN, QueuedJob, SlurmAway, ask, find_job, own_jobs
from espnet3.launch.run import held
from espnet3.launch.sbatch import job_script
from espnet3.launch.screen import Screen
from espnet3.rundir.atomic import write_text
from espnet3.rundir.job import (
    SCRIPT,
    SubmittedJob,
    new_job_name,
    read_job_end,
    read_job_id,
    read_jobs,
    write_job,
    write_submission,
)
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.process import ProcessName
from espnet3.stages import STAGES, label


class Refused(UserError):
    """A job that can't be submitted: what is wrong with its script, or the site's own message."""


@dataclass(frozen=True)
class Queued:
    """A job of a run directory, and what Slurm has of it."""

    job: SubmittedJob
    job_id: str
    slurm: QueuedJob | None = None


def submit_chain(
    jobs: Sequence[Job],
    config: DictConfig,
    *,
    force: Sequence[bool],
    command: list[str],
    after: Queued | None = None,
) -> list[Queued]:
    """Submit `jobs`, each to start when the one before is done; the caller holds what `submitting` says.

    Side effects: a folder for each job in the run directory, with its description, configuration and script.

    Args:
        jobs: at least one.
        config: theirs.
        force: for each of them, whether it runs though it is done.
        command: what the user had typed.
        after: a job of the run directory that the first waits for.

    Raises:
        UserError: Slurm refuses one of them, with its own message; then none is queued.
        SlurmAway: it does not answer; what was queued before that stays, and `resume` goes on with it.
    """
    described = describe_chain(
        jobs, config, force=force, command=command, after=after.job.name if after else ""
    )
    try:
        try_out(
            [
                (_write_script(one, job, config, after=[]), job.resources, job.stage)
                for one, job in zip(described, jobs, strict=True)
            ]
        )
        return submit_described(described, jobs, config, known=[after] if after else [])
    except Refused:
        cancel([job_id for job in described if (job_id := read_job_id(_folder(config, job)))])
        for job in described:
            _undo(job, config)
        raise


def describe_chain(
    jobs: Sequence[Job], config: DictConfig, *, force: Sequence[bool], command: list[str], after: str = ""
) -> list[SubmittedJob]:
    """Write down what is to be submitted, before anything is; see `submit_chain`."""
    exp_dir, chain = Path(config.exp_dir), uuid.uuid4().hex[:12]
    described = []
    for position, job in enumerate(jobs):
        folder_name = new_job_name(exp_dir, job.stage)
        one = SubmittedJob(
            name=folder_name,
            stages=[job.stage],
            token=f"{TOKEN}{chain}-{position}",
            chain=chain,
            position=position,
            after=after,
            force=force[position],
            command=command,
            chain_stages=[each.stage for each in jobs],
            max_restarts=job.resources.max_restarts,
            submitted_by=asdict(ProcessName.own()),
        )
        try:
            write_job(_folder(config, one), one, saved_text(config))
            (exp_dir / "logs" / job.stage).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"can't write {error.filename or exp_dir}: {error.strerror}") from error
        described.append(one)
        after = folder_name
    return described


def submit_described(
    described: Sequence[SubmittedJob], jobs: Sequence[Job], config: DictConfig, known: Sequence[Queued] = ()
) -> list[Queued]:
    """Submit what was described and is not `known` to be queued already.

    Raises:
        UserError: Slurm refuses.
        SlurmAway: it does not answer; what was queued before that stays.
    """
    queued = {one.job.name: one for one in known}
    for one, job in zip(described, jobs, strict=True):
        if one.name not in queued:
            after = [queued[one.after].job_id] if one.after in queued else []
            script = _write_script(one, job, config, after)
            job_id = sbatch(script, one.token)
            write_submission(_folder(config, one), job_id)
            queued[one.name] = Queued(one, job_id)
    return [queued[one.name] for one in described]


@contextmanager
def submitting(exp_dir: Path, screen: Screen) -> Iterator[None]:
    """Be the only one who submits jobs of a run directory, also while a job holds the directory itself."""
    try:
        with held(jobs_dir(exp_dir), screen, wait=True):
            yield
    finally:
        with suppress(OSError):  # where nothing was submitted nothing stays
            jobs_dir(exp_dir).rmdir()


def find_queued(exp_dir: Path, jobs: Sequence[QueuedJob] | None = None) -> list[Queued]:
    """The jobs of a run directory that are in Slurm's queue, those too whose id was never noted.

    Args:
        exp_dir: the run directory.
        jobs: what `own_jobs` gives, if it was asked already.

    Raises:
        SlurmAway, UserError: Slurm can't be asked.
    """
    known = read_jobs(exp_dir)
    if not known:
        return []
    in_slurm = [job for job in (own_jobs() if jobs is None else jobs) if job.in_queue]
    found = []
    for job in known:
        folder = jobs_dir(exp_dir) / job.name
        if job.runs > 1 and read_job_end(folder) is not None:
            continue  # what is in the queue goes on with others
        job_id = read_job_id(folder) or ""
        slurm = find_job(in_slurm, job_id, job.token)
        if slurm is not None:
            if not job_id:
                with suppress(OSError):
                    write_submission(folder, slurm.job_id)
            found.append(Queued(job, slurm.job_id, slurm))
    return found


def refuse_if_queued(exp_dir: Path) -> None:
    """A run directory belongs to the jobs that are queued for it.

    Raises:
        UserError: naming the job and what can be done.
    """
    try:
        queued = find_queued(exp_dir)
    except SlurmAway as error:
        raise UserError(
            f"Slurm does not say whether jobs are queued for {short_path(exp_dir)}: {error}"
        ) from error
    if queued:
        first, where = queued[0], short_path(exp_dir)
        state = first.slurm.state if first.slurm else "queued"
        raise UserError(
            f"{where} is held by Slurm job {first.job_id} ({first.job.stage}, {state}): follow it with"
            f" `espnet3 logs -f {where}`, end it with `espnet3 cancel {where}`, or give tag=NAME"
        )


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs; those that are over already don't matter.

    Raises:
        SlurmAway, UserError: Slurm does not answer, or refuses.
    """
    if job_ids:
        ask(["scancel", "--quiet", *job_ids])


def job_name(config: DictConfig, stage: str) -> str:
    """What the job is called in squeue: "asr.default.2-train"."""
    return f"{Path(config.recipe_dir).name}.{config.tag}.{STAGES.index(stage)}-{stage}".replace(" ", "_")


def script_of(job: Job, config: DictConfig, folder: Path, token: str, after: Sequence[str]) -> str:
    """The batch script of a stage's job."""
    return job_script(
        job.resources,
        folder,
        name=job_name(config, job.stage),
        token=token,
        output=Path(config.exp_dir) / "logs" / job.stage / "job-%j.log",
        after=after,
    )


def _undo(job: SubmittedJob, config: DictConfig) -> None:
    """Remove what `describe_chain` has made for a job that is not submitted."""
    folder, logs = _folder(config, job), Path(config.exp_dir) / "logs" / job.stage
    shutil.rmtree(folder, ignore_errors=True)
    for empty in (folder.parent, logs, logs.parent):
        with suppress(OSError):  # there is something else in it
            empty.rmdir()


def _folder(config: DictConfig, job: SubmittedJob) -> Path:
    return jobs_dir(Path(config.exp_dir)) / job.name


def _write_script(one: SubmittedJob, job: Job, config: DictConfig, after: Sequence[str]) -> Path:
    folder = _folder(config, one)
    write_text(folder / SCRIPT, script_of(job, config, folder, one.token, after))
    return folder / SCRIPT


def try_out(scripts: Sequence[tuple[Path, Resources, str]]) -> None:
    """Check every script and ask Slurm whether it would take the job, before the first is queued.

    Args:
        scripts: each with what it asks for, and the stage that says so.

    Raises:
        Refused: naming what is wrong, or in the site's own words.
        SlurmAway: it does not answer.
    """
    show = partial(ask, ["scontrol", "--oneliner", "show", "partition"])
    patience = Patience()
    try:
        partitions = parse_partitions(patience.until_answered(show))
        for script, resources, stage in scripts:
            check_script(script, resources, f"resources.{stage}")
            check_limits(resources, partitions, f"resources.{stage}")
    except SlurmAway:
        raise
    except UserError as error:
        raise Refused(str(error)) from error
    for script, _, stage in scripts:
        command = ["sbatch", "--test-only", str(script)]
        try:
            patience.until_answered(partial(ask, command))
        except SlurmAway:
            raise
        except UserError as error:
            raise Refused(f"Slurm refuses the job of {label(stage)}: {error}") from error


def sbatch(script: Path, token: str) -> str:
    """Submit a script once, whatever happens to Slurm: before each further try the queue is searched.

    Returns:
        The job's id, or that of the array.

    Raises:
        Refused: by Slurm, in its own words.
        SlurmAway: it does not answer.
    """

    def taken() -> str | None:
        """The job's id, where Slurm took it and could not say so."""
        with suppress(SlurmAway):
            for job in own_jobs():
                if job.comment.partition("[")[0] == token:
                    return job.job_id.partition("_")[0]
        return None

    # A command that is killed here must not leave an sbatch that submits later, unseen by `resume`.
    command = partial(ask, ["sbatch", "--parsable", str(script)], dies_with_us=True)
    try:
        return Patience().until_answered(command, taken).strip().split(";")[0]
    except SlurmAway:
        raise
    except UserError as error:
        raise Refused(f"Slurm refuses {short_path(script)}: {error}") from error
