"""A job that waits for another starts only after that one has written that it is done."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from espnet3.errors import UserError
from espnet3.launcher.batch import run_job
from espnet3.rundir.files import reading
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.job import SubmittedJob, write_job, write_job_result
from espnet3.rundir.records.record import Record, write_record


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reading, "LATE_FILES_S", 0.0)
    folder = tmp_path / "prepare-1"
    folder.mkdir()
    return folder


def test_done_is_what_it_has_written(before: Path):
    write_job_result(before, AttemptResult("done", "skipped"))
    run_job.check_before_is_done(before)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "prepare-1, which this job waited for, ended without a result"),
        (AttemptResult("failed", "rank 0: no"), "prepare-1, which .*, ended as failed: rank 0: no"),
    ],
)
def test_anything_else_fails_this_job(before: Path, result: AttemptResult | None, message: str):
    write_job_result(before, result)
    with pytest.raises(UserError, match=message):
        run_job.check_before_is_done(before)


def test_a_job_of_another_run_directory_is_not_looked_for(tmp_path: Path):
    run_job.check_before_is_done(tmp_path / "shared-1")


def test_what_the_job_before_has_made_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its manifest is seen on this node at the third look."""
    config = OmegaConf.create({"recipe_dir": str(tmp_path), "data_dir": str(tmp_path / "data")})
    folder = tmp_path / "jobs" / "prepare-1"
    write_job(folder, SubmittedJob("prepare-1", ["prepare"], "t", "t", 0, "", False, [], 3, {}), "")
    write_record(tmp_path / "data", "prepare", Record({}, {}, done=True, outputs=["data/train.jsonl"]))
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            (tmp_path / "data" / "train.jsonl").touch()

    monkeypatch.setattr(reading.time, "sleep", sleep)
    run_job.wait_for_outputs(config, folder)
    assert len(looks) == 2
