"""The batch process of a submitted job, on its first node: runs the stage there and decides what follows."""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from espnet3.errors import UserError
from espnet3.launcher.attempt.run_stage import RunOptions, StartStep
from espnet3.launcher.attempt.run_stages import exit_code, run_in_turn
from espnet3.launcher.batch.restarts import After, RestartDecision, attempts_without_progress, decide_restart
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.planning.plan import Job, main_job, plan
from espnet3.launcher.rank.interrupts import StopSignals
from espnet3.launcher.start.step import start_step
from espnet3.rundir.attempt import Attempt, End, progress_mark, read_attempts
from espnet3.rundir.job import (
    CONFIG,
    SubmittedJob,
    duplicate_of,
    read_job,
    write_job_end,
)
from espnet3.rundir.layout import stage_home
from espnet3.rundir.private import check_private
from espnet3.slurm.command import SlurmAway, ask
from espnet3.slurm.own_job import own_slurm_job_id, requeue, stop_at, wait_for_slurm
from espnet3.terminal.screen import Screen

STOP_MARGIN_S = 15.0
"""A task that was asked to stop ahead of the time limit ends itself so long before it."""


@dataclass(frozen=True)
class Ran:
    """How a job has run, and what follows."""

    end: End | None
    """None when another job in Slurm does its work."""
    after: After = "exit"

    @property
    def code(self) -> int:
        """The exit code."""
        return exit_code(self.end) if self.end is not None else 0


def stopped(by: str) -> Ran:
    """What follows where a job is asked to stop while it runs nothing."""
    end = End("stopped", by)
    return Ran(end, decide_restart(end, without_progress=0, max_restarts=0).after)


def main(folder: str) -> int:
    """Run the job described in `folder`; returns the job's exit code, or does not, when it starts again."""
    screen = Screen()
    return leave(Path(folder), run_job(Path(folder), screen), screen)


def run_job(folder: Path, screen: Screen, start_step: StartStep = start_step) -> Ran:
    """Run the job that `folder` describes, which is told its end there, unless something follows."""
    try:
        ran = _run_job(folder, screen, start_step)
    except UserError as error:
        screen.line(str(error))
        ran = Ran(End("failed", str(error)))
    if ran.end is not None and ran.after == "exit":
        with suppress(OSError):  # the disk may be full, which is no new outcome
            write_job_end(folder, ran.end)
    return ran


def leave(folder: Path, ran: Ran, screen: Screen) -> int:
    """Do what follows on the job in `folder`; returns this process's exit code, if Slurm lets it end."""
    job_id = own_slurm_job_id()
    after = ran.after
    if after == "wait":
        # The last word is Slurm's, cancelled or preempted, so none is left in the job's folder.
        screen.line("waiting for Slurm to end this job")
        if not wait_for_slurm(job_id):
            assert ran.end is not None
            if ran.end.reason.startswith("SIGTERM"):
                screen.line("starts again: Slurm does not end this job, whoever sent its tasks the signal")
                after = "requeue"
            else:  # SIGINT, SIGUSR1: nobody but a person sends these
                screen.line(f"ends: it was asked to stop by {ran.end.reason}")
                write_job_end(folder, ran.end)
    if after == "requeue":
        try:
            requeue(job_id)
        except UserError as error:
            screen.line(str(error))
            write_job_end(folder, End("failed", str(error)))
            return 1
    return ran.code


def _run_job(folder: Path, screen: Screen, start_step: StartStep) -> Ran:
    """As `run_job`.

    Raises:
        UserError: the folder can't be trusted, or the stage can't run.
    """
    check_private(folder)
    described = read_job(folder)
    config = OmegaConf.load(folder / CONFIG)
    assert described is not None, f"{folder} describes no job"
    assert isinstance(config, DictConfig)
    OmegaConf.set_struct(config, True)
    job_id = own_slurm_job_id()
    if other := duplicate_of(folder, job_id):
        screen.line(f"ends: {folder.name} was submitted twice, and is job {other}")
        return Ran(None)
    write_job_end(folder, None)
    os.environ["ESPNET3_JOB"] = described.name  # commands inside know that this allocation is a job of ours
    jobs = plan(config, described.stages)
    main = main_job(jobs)
    earlier = _earlier(config, described)
    without_progress = attempts_without_progress(
        earlier, _progress(config, earlier), _preempted(job_id, earlier)
    )
    if without_progress > described.max_restarts:
        reason = (
            f"{without_progress} attempts in a row left no newer checkpoint, and"
            f" resources.{main.stage}.max_restarts={described.max_restarts}"
        )
        screen.line(f"not started again: {reason}")
        return Ran(End("killed", reason))
    verdicts: list[RestartDecision] = []
    run_options = RunOptions(
        screen=screen,
        command=described.command,
        force=described.force and not earlier,
        job=described.name,
        interrupts=partial(StopSignals, insistent=False),
        restarts=partial(_restarts, config, described, verdicts, screen),
        start_step=start_step,
        stop_at=stop_at(main.resources.signal_delay_s),
        stop_within_s=max(5.0, main.resources.signal_delay_s - STOP_MARGIN_S),
        show_log=False,
    )
    with hold_directory(Path(config.exp_dir), screen, wait=True):
        end = run_in_turn(jobs, config, run_options)
    verdict = verdicts[-1] if verdicts else RestartDecision("exit")
    if end is None:
        return Ran(End("killed"), verdict.after)
    reasons = dict.fromkeys(reason for reason in (end.reason, verdict.reason) if reason)
    return Ran(replace(end, reason="; ".join(reasons)), verdict.after)


def _restarts(
    config: DictConfig,
    described: SubmittedJob,
    verdicts: list[RestartDecision],
    screen: Screen,
    job: Job,
    end: End,
    progress_before: str,
) -> bool:
    """Decide what follows on the end of an attempt, and say so."""
    progress = progress_mark(stage_home(config, job.stage))
    earlier = _earlier(config, described)[:-1]
    without_progress = 0
    if progress == progress_before:
        job_id = own_slurm_job_id()
        without_progress = 1 + attempts_without_progress(earlier, progress, _preempted(job_id, earlier))
    verdict = decide_restart(end, without_progress=without_progress, max_restarts=described.max_restarts)
    verdicts.append(verdict)
    if verdict.after == "requeue":
        screen.line(f"starts again: {verdict.reason}")
    elif verdict.reason:
        screen.line(f"does not start again: {verdict.reason}")
    return verdict.after == "requeue"


def _earlier(config: DictConfig, described: SubmittedJob) -> list[Attempt]:
    attempts = read_attempts(Path(config.exp_dir))
    return [attempt for attempt in attempts if attempt.begin.job == described.name]


def _progress(config: DictConfig, attempts: list[Attempt]) -> str:
    """`progress_mark` of now, where the last of `attempts` made its own."""
    return progress_mark(stage_home(config, attempts[-1].begin.stage)) if attempts else ""


def _preempted(job_id: str, attempts: list[Attempt]) -> list[int]:
    """Numbers of those attempts that Slurm ended, as far as can be known, to make room for others.

    Those asked to end by SIGTERM, and those that could not tell: all of them, unless sacct says otherwise.
    """
    perhaps = {
        one.begin.number: _start_of(one) for one in attempts if one.end is None or one.end.reason == "SIGTERM"
    }
    if not perhaps:
        return []
    try:
        command = "sacct --duplicates --allocations --noheader --parsable2 --format=State -j"
        shown = ask([*command.split(), job_id], timeout_s=20.0)
    except (SlurmAway, UserError):
        return list(perhaps)
    starts = dict(enumerate(line.split()[0] for line in shown.splitlines() if line.strip()))
    return [number for number, start in perhaps.items() if starts.get(start) in (None, "PREEMPTED")]


def _start_of(attempt: Attempt) -> int:
    """In which start of its job an attempt was made; the first is 0."""
    return int(attempt.launcher.slurm_job.rpartition(".")[2] or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
