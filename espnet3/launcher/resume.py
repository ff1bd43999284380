"""`espnet3 resume`: submit the unfinished jobs of a run again, without submitting any of them twice."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet3.config.saved import read_config
from espnet3.errors import UserError, command_path, short_path
from espnet3.launcher.attempt.run_stages import check_before
from espnet3.launcher.follow.jobs import detached
from espnet3.launcher.follow.logs import RunStatus, follow_logs, read_run_status, status_line
from espnet3.launcher.planning.plan import plan
from espnet3.launcher.submit.chain import submit_chain, submit_described, submitting
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.records.job import CONFIG, read_job_id, write_submission
from espnet3.slurm.jobs import cancel_jobs
from espnet3.slurm.queue import SHOWN_AFTER_S
from espnet3.stage_table import label
from espnet3.status.run_files import JobFiles
from espnet3.status.stage_states import owner_is_at_work
from espnet3.status.stage_status import UNDER_WAY, StageStatus
from espnet3.terminal.screen import Screen

if TYPE_CHECKING:
    from espnet3.launcher.submit.job_handle import JobHandle


@dataclass(frozen=True)
class ChainedJob:
    """One job of a chain, and its status."""

    files: JobFiles
    status: StageStatus

    @property
    def is_under_way(self) -> bool:
        """Whether it waits, runs or starts again by itself."""
        return self.status.state in UNDER_WAY

    @property
    def is_in_slurm(self) -> bool:
        """Whether it is in the queue, including a job that will never start."""
        return self.is_under_way or self.status.slurm_state == "PENDING"

    @property
    def handle(self) -> "JobHandle":
        """The handle of the job."""
        from espnet3.launcher.submit.job_handle import JobHandle

        return JobHandle(jobs_dir(self.status.run) / self.files.job.name, self.status.job_id)


def resume(exp_dir: Path, screen: Screen) -> "list[JobHandle]":
    """Submit the jobs of the last chain that are neither done nor under way, each after the one before.

    A submission that died half-way is continued: jobs that are queued already, id noted or not, are kept.
    A chain that ended is submitted again from the first stage that is not done, with its configuration.

    Returns:
        The jobs that are under way now, in order; empty when every stage is done.

    Raises:
        UserError: the run can't be resumed, or not by this command.
    """
    with submitting(exp_dir, screen):
        now = _settled_status(exp_dir, screen)
        _check_resumable(exp_dir, now)
        chain = _last_chain(now)
        undone = [job for job in chain if job.status.state != "done"]
        if not undone and not _is_incomplete(chain):
            screen.line(f"{short_path(exp_dir)}: nothing to resume, every stage of its last jobs is done")
            return []
        kept = _kept(undone)
        for job in kept:
            _note_id(exp_dir, job)
            screen.line(status_line(job.status))
        new = _submit(exp_dir, chain, kept, undone[len(kept) :])
        for handle in new:
            screen.line(f"{label(handle.stage)}: submitted as job {handle.job_id}")
        if not new:
            screen.line(f"{short_path(exp_dir)}: nothing to submit, its jobs are under way")
    return [*(job.handle for job in kept), *new]


def _settled_status(exp_dir: Path, screen: Screen) -> RunStatus:
    """The status of the run once no job of it is completing and squeue lists the newest submission."""
    now = read_run_status(exp_dir)
    if now.queue.answered and any(status.state == "not started" for status in now.statuses):
        time.sleep(SHOWN_AFTER_S)
        now = read_run_status(exp_dir)
    shown = ""
    while ending := [status.job_id for status in now.statuses if status.slurm_state == "COMPLETING"]:
        if shown != (shown := f"waiting for job {', '.join(ending)} to end"):
            screen.line(shown)
        time.sleep(SHOWN_AFTER_S)
        now = read_run_status(exp_dir)
    if now.queue.problem:
        raise UserError(
            f"Slurm does not say what is queued for {short_path(exp_dir)}: {now.queue.problem};"
            " nothing was submitted"
        )
    return now


def _check_resumable(exp_dir: Path, now: RunStatus) -> None:
    """Refuse a run directory that a command holds, or whose last stage ran without a submitted job.

    Raises:
        UserError: names the holder, or the command that continues the run.
    """
    where, word, owner = short_path(exp_dir), command_path(exp_dir), now.run.owner
    job_ids = {status.job_id for status in now.statuses if status.job}
    if owner and owner.slurm_job.partition(".")[0] not in job_ids and owner_is_at_work(now.run, now.queue):
        if not owner.can_be_checked:
            raise UserError(
                f"{where} is in use by {owner}; if that process is gone, `espnet3 release {word}` frees it"
            )
        raise UserError(
            f"{where} is in use by {owner}, which is at work: `espnet3 logs -f {word}` follows it"
        )
    if not now.run.stages:
        raise UserError(f"{where}: nothing of it was submitted, or can be read; give the command again")
    newest = max(now.run.stages, key=lambda stage: stage.began_at, default=None)
    if newest is not None and newest.job is None and any(status.state != "done" for status in now.statuses):
        begin = newest.attempt.begin if newest.attempt else None
        command = begin.command[0] if begin and begin.command else "the command that started it"
        raise UserError(f"{where} ran without jobs of its own in Slurm; this continues it: {command}")


def _last_chain(now: RunStatus) -> list[ChainedJob]:
    """The last chain with the status of each job."""
    by_stage = {status.stage: status for status in now.statuses}
    return [
        ChainedJob(files, by_stage[files.job.stage]) for files in now.run.chain if files.job.stage in by_stage
    ]


def _kept(undone: Sequence[ChainedJob]) -> list[ChainedJob]:
    """The first jobs that are under way: they stay in the queue as they are."""
    kept: list[ChainedJob] = []
    for job in undone:
        if not job.is_under_way:
            break
        kept.append(job)
    return kept


def _is_incomplete(chain: Sequence[ChainedJob]) -> bool:
    """Whether the command died before it had described every job of the chain; then it submitted none."""
    last = [job for job in chain if job.files.job.chain == chain[-1].files.job.chain]
    return len(last) < len(last[-1].files.job.chain_stages) if last else False


def _submit(
    exp_dir: Path, chain: Sequence[ChainedJob], kept: Sequence[ChainedJob], rest: Sequence[ChainedJob]
) -> "list[JobHandle]":
    """Submit `rest`, whose first job waits for the last of `kept`, if there is one."""
    stages = [job.files.job.stage for job in rest]
    if _is_incomplete(chain):
        stages = chain[-1].files.job.chain_stages
    if not stages:
        return []
    first = (rest or chain)[0].files.job
    config = read_config(jobs_dir(exp_dir) / first.name / CONFIG)
    jobs = plan(config, stages)
    after = kept[-1].handle if kept else None
    if not _is_incomplete(chain) and all(job.status.state == "not started" for job in rest):
        known = [after] if after else []
        return submit_described([job.files.job for job in rest], jobs, config, known)
    begun_stages = {job.files.job.stage for job in rest if job.status.attempt is not None}
    force = [first.force and stage not in begun_stages for stage in stages]
    if after is None:
        check_before(jobs, config, force=any(force))
    cancel_jobs([job.status.job_id for job in rest if job.is_in_slurm])
    return submit_chain(jobs, config, force=force, command=first.command, after=after)


def _note_id(exp_dir: Path, job: ChainedJob) -> None:
    """Write the job's id into its folder, if the command that submitted it died before it could."""
    folder = jobs_dir(exp_dir) / job.files.job.name
    if read_job_id(folder) is None:
        write_submission(folder, job.status.job_id)


def follow(exp_dir: Path, under_way: "Sequence[JobHandle]", screen: Screen) -> int:
    """Show the run until it is over, or until Ctrl-C; returns the exit code."""
    try:
        return follow_logs(exp_dir, None, 0, screen)
    except KeyboardInterrupt:
        return detached(under_way, exp_dir, screen)
