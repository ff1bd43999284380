"""Why trials never started: a stage that they share did not end as done."""

import time
from collections.abc import Sequence
from pathlib import Path

from espnet3.errors import UserError, short_path
from espnet3.rundir.files.reading import files_in
from espnet3.rundir.layout import job_log
from espnet3.stage_table import label
from espnet3.status.run_files import RunFiles, read_what_can_be_read
from espnet3.status.snapshot import QueueSnapshot
from espnet3.status.stage_states import stage_statuses
from espnet3.status.stage_status import OVER_NOT_DONE, StageStatus


def read_shared(sweep: Path) -> list[RunFiles]:
    """The files of each group of shared stages, as far as they can be read."""
    runs = []
    for directory in files_in(sweep / "shared"):
        try:
            runs.append(read_what_can_be_read(directory))
        except UserError:  # another user's: their trials say that they are blocked
            continue
    return runs


def failed_shared(runs: Sequence[RunFiles], queue: QueueSnapshot) -> list[StageStatus]:
    """The first stage of each group that is over and not done."""
    first = (
        next((status for status in stage_statuses(run, queue, time.time()) if status.state != "done"), None)
        for run in runs
    )
    return [status for status in first if status is not None and status.state in OVER_NOT_DONE]


def failure_line(status: StageStatus) -> str:
    """Which stage, why, and where its log is."""
    log = Path(status.log) if status.log else job_log(status.run, status.stage, status.job_id)
    reason = f": {status.reason}" if status.reason else ""
    return f"{label(status.stage)}, which trials share, {status.state}{reason}; see {short_path(log)}"
