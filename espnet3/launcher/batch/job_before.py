"""The job that another one waited for: that it is done, and that what it made is seen on this node."""

from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from espnet3.errors import UserError
from espnet3.outcomes.job import NO_RESULT
from espnet3.rundir.files.reading import read_late
from espnet3.rundir.layout import stage_home
from espnet3.rundir.records.job import read_job, read_job_result
from espnet3.rundir.records.record import Record, missing_outputs, read_record


def check_before_is_done(folder: Path) -> None:
    """Check that the job in `folder`, which this one waited for, has written that it is done.

    Slurm knows exit codes only. A job without a folder here is of another run directory.

    Raises:
        UserError: it has not.
    """
    if not folder.is_dir():
        return
    result = read_late(partial(read_job_result, folder), folder)
    if result is None or result.outcome != "done":
        how = NO_RESULT if result is None else f"ended as {result.outcome}: {result.reason}"
        raise UserError(f"{folder.name}, which this job waited for, {how}")


def wait_for_outputs(config: DictConfig, folder: Path) -> None:
    """Wait until what the job in `folder`, which is done, has made is seen on this node."""
    before = read_job(folder)
    for stage in before.stages if before else ():
        home = stage_home(config, stage)
        record = read_late(partial(_done_record, home, stage), home)
        if record is not None:
            read_late(partial(_has_outputs, record, Path(config.recipe_dir)), home)


def _has_outputs(record: Record, root: Path) -> bool:
    return not missing_outputs(record, root)


def _done_record(home: Path, stage: str) -> Record | None:
    record = read_record(home, stage)
    return record if record is not None and record.done else None
