"""`espnet3 resume`: queue what is left of a run, whatever became of it, and nothing twice."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet3.config.saved import read_config
from espnet3.errors import UserError, short_path
from espnet3.launcher.attempt.run_stages import check_before
from espnet3.launcher.follow.jobs import detached
from espnet3.launcher.follow.logs import RunStatus, described, follow_logs, read_run_status
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
    """One job of a chain, and how it is."""

    files: JobFiles
    status: StageStatus

    @property
    def is_under_way(self) -> bool:
        """Whether it waits, runs or starts again by itself."""
        return self.status.state in UNDER_WAY

    @property
    def is_in_slurm(self) -> bool:
        """Whether it has a place in the queue, be it that it will never start."""
        return self.is_under_way or self.status.slurm_state == "PENDING"

    @property
    def handle(self) -> "JobHandle":
        """As the job that others wait for."""
        from espnet3.launcher.submit.job_handle import JobHandle

        return JobHandle(jobs_dir(self.status.run) / self.files.job.name, self.status.job_id)


def resume(exp_dir: Path, screen: Screen) -> "list[JobHandle]":
    """Submit those jobs of the last chain that are neither done nor under way, each after the one before.

    A submission that died half-way goes on where it stopped: what is queued already, noted or not, is kept.
    A chain that ended is submitted again from the first stage that is not done, with its configuration.

    Returns:
        What is under way now, in order; empty when everything is done.

    Raises:
        UserError: the run can't be resumed, or not by this.
    """
    with submitting(exp_dir, screen):
        now = _settled_look(exp_dir, screen)
        _refuse_others(exp_dir, now)
        links = _links(now)
        left = [link for link in links if link.status.state != "done"]
        if not left and not _is_incomplete(links):
            screen.line(f"{short_path(exp_dir)}: nothing to resume, every stage of its last jobs is done")
            return []
        kept = _kept(left)
        for link in kept:
            _note_id(exp_dir, link)
            screen.line(described(link.status))
        new = _submit(exp_dir, links, kept, left[len(kept) :])
        for one in new:
            screen.line(f"{label(one.stage)}: submitted as job {one.job_id}")
        if not new:
            screen.line(f"{short_path(exp_dir)}: nothing to submit, its jobs are under way")
    return [*(link.handle for link in kept), *new]


def _settled_look(exp_dir: Path, screen: Screen) -> RunStatus:
    """How the run is when no job of it is just ending, and none may come to light that nobody noted."""
    now = read_run_status(exp_dir)
    if now.queue.answered and any(one.state == "not started" for one in now.statuses):
        time.sleep(SHOWN_AFTER_S)
        now = read_run_status(exp_dir)
    shown = ""
    while ending := [one.job_id for one in now.statuses if one.slurm_state == "COMPLETING"]:
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


def _refuse_others(exp_dir: Path, now: RunStatus) -> None:
    """A run directory that a command holds, or that was last filled here, is no matter of Slurm's queue.

    Raises:
        UserError: says who holds it, or the command that continues it.
    """
    where, owner = short_path(exp_dir), now.run.owner
    own_ids = {one.job_id for one in now.statuses if one.job}
    if owner and owner.slurm_job.partition(".")[0] not in own_ids and owner_is_at_work(now.run, now.queue):
        raise UserError(
            f"{where} is in use by {owner}, which is at work: `espnet3 logs -f {where}` follows it"
        )
    if not now.run.stages:
        raise UserError(f"{where}: nothing of it was submitted, or can be read; give the command again")
    newest = max(now.run.stages, key=lambda stage: stage.began_at, default=None)
    if newest is not None and newest.job is None and any(one.state != "done" for one in now.statuses):
        begin = newest.attempt.begin if newest.attempt else None
        command = begin.command[0] if begin and begin.command else "the command that started it"
        raise UserError(f"{where} ran without jobs of its own in Slurm; this continues it: {command}")


def _links(now: RunStatus) -> list[ChainedJob]:
    """The last chain with the state of each job."""
    by_stage = {one.stage: one for one in now.statuses}
    return [
        ChainedJob(files, by_stage[files.job.stage]) for files in now.run.chain if files.job.stage in by_stage
    ]


def _kept(left: Sequence[ChainedJob]) -> list[ChainedJob]:
    """Those at the front that need nothing: the first is under way, and each waits for the one before."""
    kept: list[ChainedJob] = []
    for link in left:
        if not link.is_under_way:
            break
        kept.append(link)
    return kept


def _is_incomplete(links: Sequence[ChainedJob]) -> bool:
    """Whether the command died before it had described every job of the chain; then it submitted none."""
    last = [link for link in links if link.files.job.chain == links[-1].files.job.chain]
    return len(last) < len(last[-1].files.job.chain_stages) if last else False


def _submit(
    exp_dir: Path, links: Sequence[ChainedJob], kept: Sequence[ChainedJob], rest: Sequence[ChainedJob]
) -> "list[JobHandle]":
    """Submit `rest`, of which the first waits for the last of `kept`, if there is one."""
    stages = [link.files.job.stage for link in rest]
    if _is_incomplete(links):
        stages = links[-1].files.job.chain_stages
    if not stages:
        return []
    first = (rest or links)[0].files.job
    config = read_config(jobs_dir(exp_dir) / first.name / CONFIG)
    jobs = plan(config, stages)
    after = kept[-1].handle if kept else None
    if not _is_incomplete(links) and all(link.status.state == "not started" for link in rest):
        known = [after] if after else []
        return submit_described([link.files.job for link in rest], jobs, config, known)
    began = {link.files.job.stage for link in rest if link.status.attempt is not None}
    force = [first.force and stage not in began for stage in stages]
    if after is None:
        check_before(jobs, config, force=any(force))
    cancel_jobs([link.status.job_id for link in rest if link.is_in_slurm])
    return submit_chain(jobs, config, force=force, command=first.command, after=after)


def _note_id(exp_dir: Path, link: ChainedJob) -> None:
    """Adopt a job that nobody was left to note the id of."""
    folder = jobs_dir(exp_dir) / link.files.job.name
    if read_job_id(folder) is None:
        write_submission(folder, link.status.job_id)


def follow(exp_dir: Path, under_way: "Sequence[JobHandle]", screen: Screen) -> int:
    """Show the run until it is over, or until Ctrl-C; returns the exit code."""
    try:
        return follow_logs(exp_dir, None, 0, screen)
    except KeyboardInterrupt:
        return detached(under_way, exp_dir, screen)
