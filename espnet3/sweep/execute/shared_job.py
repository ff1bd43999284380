"""The batch process of a stage that trials share: when it is done, it submits trials that wait for room."""

import sys
import time
from pathlib import Path

from espnet3.errors import UserError
from espnet3.launcher.batch import run_job
from espnet3.launcher.planning.claims import check_free
from espnet3.launcher.submit.queued import find_queued
from espnet3.slurm.own_job import own_slurm_job_id
from espnet3.sweep.jobs.waiting import submit_next
from espnet3.terminal.output import keep_output
from espnet3.terminal.screen import Screen

_FREE_WITHIN_S = 60.0
"""How long the command that has submitted this job may take to note which trials wait."""


def main(folder: str) -> int:
    """Run the job in `folder`, below `<sweep>/shared/<name>/jobs/`; returns its exit code."""
    code = run_job.main(folder)
    exp_dir, job_id = Path(folder).parent.parent, own_slurm_job_id()
    if code == 0 and _is_last(exp_dir, job_id):
        sweep = exp_dir.parent.parent
        _wait_until_free(sweep)
        submit_next(sweep, job_id, Screen())
    return code


def _is_last(exp_dir: Path, job_id: str) -> bool:
    """Whether no other shared stage is queued behind this one, which would wait for it in vain meanwhile."""
    try:
        return {job.job_id for job in find_queued(exp_dir)} <= {job_id}
    except UserError as error:
        print(f"submits no waiting trials: {error}")
        return False


def _wait_until_free(sweep: Path) -> None:
    deadline = time.monotonic() + _FREE_WITHIN_S
    while time.monotonic() < deadline:
        try:
            check_free(sweep)
            break
        except UserError:
            time.sleep(1.0)


if __name__ == "__main__":
    keep_output()
    sys.exit(main(sys.argv[1]))
