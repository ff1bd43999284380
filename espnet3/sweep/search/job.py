"""`--detach`: the search as a small Slurm job, which submits the trials.

`search/` also holds `searcher.json`, written before sbatch is called, with the token that is the job's Slurm
comment; `submission.json` with Slurm's id; the script; and `searcher.log`. The job may be killed at any time
and requeued: its whole state is in the sweep's files.
"""

import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

from espnet3.errors import UserError
from espnet3.launcher.follow.jobs import print_commands
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.submit.follow_up import submit_script_again
from espnet3.launcher.submit.request import JobRequest
from espnet3.launcher.submit.submission import new_token, submit, try_out
from espnet3.number_text import counted
from espnet3.resources import Resources
from espnet3.rundir.files.json_file import write_dataclass
from espnet3.rundir.files.private import check_private
from espnet3.rundir.files.reading import read_late
from espnet3.rundir.records.job import SCRIPT, SUBMISSION, duplicate_of, write_submission
from espnet3.slurm.own_job import is_first_start, own_slurm_job_id, requeue, stop_at, wait_for_slurm
from espnet3.slurm.sbatch_options import ABOUT_HARDWARE, option_name
from espnet3.sweep.run import SweepOptions, plan_and_check
from espnet3.sweep.search.folder import search_folder
from espnet3.sweep.search.loop import run_search
from espnet3.sweep.search.planned import PlannedSearch, corners, plan_search
from espnet3.sweep.show.searcher import LOG, SEARCHER, Searcher, describe_searcher, read_searcher
from espnet3.sweep.trials.search_record import (
    SearchRecord,
    SearchRequest,
    read_search,
    search_dir,
    write_search,
)
from espnet3.terminal.output import keep_output
from espnet3.terminal.screen import Screen

_ENDS_BEFORE_S = 60
"""Seconds before its time limit at which the job requeues itself."""


def submit_search(request: SearchRequest, screen: Screen, *, again: bool = False) -> int:
    """Submit the job unless it is already in the queue, print how to follow it, and return the exit code.

    Raises:
        UserError: the search can't start, or Slurm refuses.
    """
    planned = plan_search(request)
    check_detached(planned)
    sweep = planned.sweep
    searcher = describe_searcher(sweep)
    if searcher:
        screen.line(f"the search is under way already, by {searcher}")
    else:
        with search_folder(sweep), hold_directory(search_dir(sweep), screen, wait=False):
            job_id = _submit(planned, search_dir(sweep), again=again)
        screen.line(f"search for {counted(planned.settings.n_trials, 'trial')}: submitted as job {job_id}")
    print_commands(sweep, screen)
    return 0


def check_detached(planned: PlannedSearch) -> None:
    """Check that trials run on Slurm, as a detached search needs.

    Raises:
        UserError: they run on this machine.
    """
    if not planned.on_slurm:
        raise UserError(
            "--detach: trials run here; only those on Slurm go on by themselves: give launcher=slurm"
        )


def searcher_resources(planned: PlannedSearch) -> Resources:
    """Resources of the job: `sweep.searcher`, and otherwise those of the training that one small task needs.

    `constraint` names features of the training's partition, so it is used in that partition only.
    """
    train, settings = Resources.of(planned.config, "train"), planned.config.sweep.searcher
    options = train.additional_parameters
    return replace(
        train.of_one_process(),
        mem_gb=settings.mem_gb,
        timeout_min=settings.timeout_min or train.timeout_min,
        partition=settings.partition or train.partition,
        qos=settings.qos or train.qos,
        constraint=train.constraint if settings.partition in (None, train.partition) else None,
        additional_parameters={
            name: value for name, value in options.items() if option_name(name) not in ABOUT_HARDWARE
        },
    )


def searcher_request(planned: PlannedSearch, token: str) -> JobRequest:
    """The sbatch request of the job."""
    folder, config = search_dir(planned.sweep), planned.config
    name = f"{planned.recipe.directory.name}.{config.tag}.search".replace(" ", "_")
    return JobRequest(
        searcher_resources(planned), folder, name=name, token=token, output=folder / LOG,
        module="espnet3.sweep.search.job",
    )  # fmt: skip


def _submit(planned: PlannedSearch, folder: Path, *, again: bool) -> str:
    """Check one trial and submit the job, while its folder is locked; returns Slurm's id."""
    trial = planned.plan(corners(planned.space)[:1])
    plan_and_check(
        planned.sweep,
        trial.trials,
        trial.bases,
        SweepOptions(planned.request.stages, planned.request.command),
    )
    searcher = Searcher(new_token(), again)
    request = searcher_request(planned, searcher.token)
    try_out([request])
    previous = read_search(planned.sweep)
    (folder / SUBMISSION).unlink(missing_ok=True)
    write_search(
        planned.sweep,
        SearchRecord(planned.request, planned.settings.n_trials, previous.trials if previous else []),
    )
    write_dataclass(folder / SEARCHER, searcher)
    return submit(request).job_id


class _StopRequested(BaseException):
    """Raised by a signal, or shortly before the time limit."""


def main(folder: str) -> int:
    """Run the search of the job in `folder`; returns the exit code."""
    directory, screen = Path(folder), Screen()
    try:
        check_private(directory)
        searcher = read_late(partial(read_searcher, directory), directory)
        record = read_late(partial(read_search, directory.parent), directory)
        assert searcher is not None and record is not None, f"{directory} describes no search"
        job_id = own_slurm_job_id()
        if other := duplicate_of(directory, job_id):
            screen.line(f"ends: the search was submitted twice, and is job {other}")
            return 0
        again = searcher.retry_failed and is_first_start()
        return _search(directory, record.request, screen, job_id, again=again)
    except UserError as error:
        screen.line(str(error))
        return 1


def _search(folder: Path, request: SearchRequest, screen: Screen, job_id: str, *, again: bool) -> int:
    """Search until all trials are done, or a signal stops this job."""

    def stop(number: int, frame: FrameType | None) -> None:
        for ignored in (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR2):
            signal.signal(ignored, signal.SIG_IGN)
        raise _StopRequested(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR2):
        signal.signal(number, stop)
    ends_at = stop_at(0)
    if ends_at is not None:
        left = ends_at - time.time()
        signal.alarm(max(1, int(left - min(_ENDS_BEFORE_S, left / 4))))
    try:
        return run_search(request, screen, retry_failed=again, wait=True)
    except _StopRequested as request_to_stop:
        if str(request_to_stop) == "SIGTERM":  # preempted or cancelled: Slurm decides whether it is requeued
            screen.line("asked to end; the trials go on")
            if wait_for_slurm(job_id):
                return 1
            screen.line("starts again: Slurm does not end this job")
        else:
            screen.line("the time limit is near: starts again")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            requeue(job_id)
        except UserError as error:
            screen.line(f"Slurm does not requeue this job: {error}")
            screen.line(f"continues as job {_submit_follow_up(folder, job_id)}")
        return 1


def _submit_follow_up(folder: Path, job_id: str) -> str:
    """Submit the job again, to continue the search when `job_id` has ended; returns the id."""
    searcher = Searcher(new_token(), retry_failed=False)
    (folder / SUBMISSION).unlink(missing_ok=True)
    write_dataclass(folder / SEARCHER, searcher)
    new_id = submit_script_again(folder / SCRIPT, searcher.token, job_id)
    write_submission(folder, new_id)
    return new_id


if __name__ == "__main__":
    keep_output()
    sys.exit(main(sys.argv[1]))
