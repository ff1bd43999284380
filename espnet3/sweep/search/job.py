"""`--detach`: the search as a small Slurm job of its own, which submits the trials.

Beside the record in `search/` lie `searcher.json`, written before sbatch is called, with the token that the
job carries in Slurm; `submission.json` with Slurm's id; the script, and `searcher.log`. The job may die at
any moment, and starts again: what it goes on with is all in the sweep's files.
"""

import os
import signal
import sys
import time
import uuid
from pathlib import Path
from types import FrameType

from espnet3.errors import UserError
from espnet3.launcher.planning.claims import hold_directory
from espnet3.launcher.submit.script import job_script
from espnet3.launcher.submit.submission import sbatch, try_out
from espnet3.resources import Resources
from espnet3.rundir.atomic import write_text
from espnet3.rundir.job import SCRIPT, SUBMISSION, read_job_id, write_submission
from espnet3.rundir.json_file import write_dataclass
from espnet3.rundir.private import check_private
from espnet3.slurm.own_job import own_slurm_job_id, requeue, stop_at, wait_for_slurm
from espnet3.slurm.queue import TOKEN
from espnet3.sweep.run import SweepOptions, how_to_follow, plan_and_check
from espnet3.sweep.search.folder import made
from espnet3.sweep.search.loop import run_search
from espnet3.sweep.search.planned import PlannedSearch, corners, plan_search
from espnet3.sweep.show.searcher import LOG, SEARCHER, Searcher, at_work, read_searcher
from espnet3.sweep.trials.search_record import (
    SearchRecord,
    SearchRequest,
    read_search,
    search_dir,
    write_search,
)
from espnet3.terminal.screen import Screen

_ENDS_BEFORE_S = 60
"""So long before its time limit the job ends itself, and starts again."""


def submit_search(wanted: SearchRequest, screen: Screen, *, again: bool = False) -> int:
    """Submit the job, unless it is in the queue already; says how to follow, and returns the exit code.

    Raises:
        UserError: for what can be known before anything is started, or Slurm refuses.
    """
    planned = plan_search(wanted)
    check_detached(planned)
    sweep = planned.sweep
    who = at_work(sweep)
    if who:
        screen.line(f"the search is under way already, by {who}")
    else:
        with made(sweep), hold_directory(search_dir(sweep), screen, wait=False):
            job_id = _submit(planned, search_dir(sweep), again=again)
        screen.line(f"search for {planned.settings.n_trials} trials: submitted as job {job_id}")
    screen.line(how_to_follow(sweep))
    return 0


def check_detached(planned: PlannedSearch) -> None:
    """Only what runs on Slurm goes on by itself.

    Raises:
        UserError: trials run here.
    """
    if not planned.on_slurm:
        raise UserError(
            "--detach: trials run here; only those on Slurm go on by themselves: give launcher=slurm"
        )


def searcher_resources(planned: PlannedSearch) -> Resources:
    """What the job asks for: `sweep.searcher`, and what it leaves to the training's."""
    train, own = Resources.of(planned.config, "train"), planned.config.sweep.searcher
    return Resources(
        mem_gb=own.mem_gb,
        timeout_min=own.timeout_min or train.timeout_min,
        partition=own.partition or train.partition,
        account=train.account,
        qos=own.qos or train.qos,
        setup=train.setup,
        additional_parameters={"open-mode": "append"},
    )


def searcher_script(planned: PlannedSearch, token: str) -> str:
    """The job's batch script."""
    folder, config = search_dir(planned.sweep), planned.config
    name = f"{planned.recipe.directory.name}.{config.tag}.search".replace(" ", "_")
    return job_script(
        searcher_resources(planned), folder, name=name, token=token, output=folder / LOG,
        module="espnet3.sweep.search.job",
    )  # fmt: skip


def _submit(planned: PlannedSearch, folder: Path, *, again: bool) -> str:
    """Check a trial, and submit the job, while its folder is held; Slurm's id."""
    trial = planned.plan(corners(planned.space)[:1])
    plan_and_check(
        planned.sweep, trial.trials, trial.bases, SweepOptions(planned.wanted.stages, planned.wanted.command)
    )
    searcher = Searcher(f"{TOKEN}{uuid.uuid4().hex[:12]}", again)
    before = read_search(planned.sweep)
    (folder / SUBMISSION).unlink(missing_ok=True)
    write_text(folder / SCRIPT, searcher_script(planned, searcher.token))
    try_out([(folder / SCRIPT, searcher_resources(planned), "train")])
    write_search(
        planned.sweep,
        SearchRecord(planned.wanted, planned.settings.n_trials, before.trials if before else []),
    )
    write_dataclass(folder / SEARCHER, searcher)
    job_id = sbatch(folder / SCRIPT, searcher.token)
    write_submission(folder, job_id)
    return job_id


class _StopRequested(BaseException):
    """A signal, or the time limit, asks this job to end."""


def main(folder: str) -> int:
    """Search, as the job described in `folder`; returns its exit code."""
    own, screen = Path(folder), Screen()
    try:
        check_private(own)
        searcher, record = read_searcher(own), read_search(own.parent)
        assert searcher is not None and record is not None, f"{own} describes no search"
        job_id = own_slurm_job_id()
        if (noted := read_job_id(own)) is None:
            write_submission(own, job_id)
        elif noted != job_id:
            screen.line(f"ends: the search was submitted twice, and is job {noted}")
            return 0
        return _search(record.wanted, screen, job_id, again=searcher.again and _is_first_start())
    except UserError as error:
        screen.line(str(error))
        return 1


def _search(wanted: SearchRequest, screen: Screen, job_id: str, *, again: bool) -> int:
    """Search until all is done, or this job is asked to end."""

    def ask(number: int, frame: FrameType | None) -> None:
        for one in (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR2):
            signal.signal(one, signal.SIG_IGN)
        raise _StopRequested(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR2):
        signal.signal(number, ask)
    ends_at = stop_at(0)
    if ends_at is not None:
        left = ends_at - time.time()
        signal.alarm(max(1, int(left - min(_ENDS_BEFORE_S, left / 4))))
    try:
        return run_search(wanted, screen, again=again, wait=True)
    except _StopRequested as asked:
        if str(asked) == "SIGTERM":  # preempted or cancelled: what follows is Slurm's to decide
            screen.line("asked to end; the trials go on")
            if wait_for_slurm(job_id):
                return 1
            screen.line("starts again: Slurm does not end this job")
        else:
            screen.line("the time limit is near: starts again")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        requeue(job_id)
        return 1


def _is_first_start() -> bool:
    return os.environ.get("SLURM_RESTART_COUNT", "0") == "0"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
