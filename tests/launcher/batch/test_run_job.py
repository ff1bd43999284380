"""A job that waits for another starts only after that one has written that it is done."""

from dataclasses import asdict
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from espnet3.errors import UserError
from espnet3.launcher.batch import job_before, leaving
from espnet3.outcomes.restart import RestartDecision
from espnet3.rundir.files import reading
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.job import SubmittedJob, read_job_result, write_job, write_job_result
from espnet3.rundir.records.record import Record, write_record
from espnet3.slurm import own_job
from espnet3.slurm.restarting.job_change import JobChange, Memory
from espnet3.terminal.screen import Screen


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reading, "LATE_FILES_S", 0.0)
    folder = tmp_path / "prepare-1"
    folder.mkdir()
    return folder


def test_done_is_what_it_has_written(before: Path):
    write_job_result(before, AttemptResult("done", "skipped"))
    job_before.check_before_is_done(before)


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
        job_before.check_before_is_done(before)


def test_a_job_of_another_run_directory_is_not_looked_for(tmp_path: Path):
    job_before.check_before_is_done(tmp_path / "shared-1")


def test_what_the_job_before_has_made_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its manifest is seen on this node at the third look."""
    config = OmegaConf.create({"recipe_dir": str(tmp_path), "data_dir": str(tmp_path / "data")})
    folder = tmp_path / "jobs" / "prepare-1"
    write_job(
        folder,
        SubmittedJob("prepare-1", ["prepare"], "t", "t", 0, "", False, [], 3, asdict(ProcessName.own())),
        "",
    )
    write_record(tmp_path / "data", "prepare", Record({}, {}, done=True, outputs=["data/train.jsonl"]))
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            (tmp_path / "data" / "train.jsonl").touch()

    monkeypatch.setattr(reading.time, "sleep", sleep)
    job_before.wait_for_outputs(config, folder)
    assert len(looks) == 2


def test_without_requeueing_and_without_a_follow_up_job_the_result_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> str:
        raise UserError("Requested operation is presently disabled")

    monkeypatch.setattr(leaving, "is_ended_by_slurm", lambda job_id: False)
    monkeypatch.setattr(leaving, "requeue", refuse)
    more = JobChange(Memory(150), "node1")
    saved = RestartDecision(AttemptResult("stopped", "SIGUSR2", restarts=True), "requeue", "time limit", more)
    asked: list[JobChange] = []
    assert leaving.leave(tmp_path, saved, Screen(), lambda change: asked.append(change) or "8") == 75
    assert asked == [more]
    assert read_job_result(tmp_path) is None, "the follow-up job writes it"
    assert leaving.leave(tmp_path, saved, Screen(), refuse) == 75
    result = read_job_result(tmp_path)
    assert result is not None and not result.restarts
    assert "Slurm neither requeues the job nor takes one that continues it: Requested" in result.reason


def test_a_change_that_slurm_refuses_is_said_and_the_job_is_requeued_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
):
    asked, said = [], []

    def refuse(command: list[str]) -> str:
        asked.append(command)
        raise UserError("Access/permission denied")

    monkeypatch.setattr(own_job, "ask_with_retries", lambda command, timeout_s: asked.append(command))
    monkeypatch.setattr(own_job, "ask", refuse)
    monkeypatch.setattr(own_job, "is_ended_by_slurm", lambda job_id: True)
    monkeypatch.setattr(own_job, "POLL_EVERY_S", 0.0)
    monkeypatch.setattr(own_job, "ENDS_WITHIN_S", 0.0)
    own_job.requeue("7", JobChange(exclude="node1"), said.append)
    update = ["scontrol", "update", "JobId=7", "ExcNodeList=node1"]
    assert asked == [["scontrol", "requeue", "7"], update]
    (line,) = said
    assert "ExcNodeList=node1" in line and line.endswith("Access/permission denied")


def test_a_requeueing_that_does_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(own_job, "ask_with_retries", lambda *command, timeout_s: "")
    monkeypatch.setattr(own_job, "is_ended_by_slurm", lambda job_id: False)
    monkeypatch.setattr(own_job, "NOT_ENDED_AFTER_S", 0.0)
    with pytest.raises(UserError, match="`scontrol requeue 7` did not end the job"):
        own_job.requeue("7")
