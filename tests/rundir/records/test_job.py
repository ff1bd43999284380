"""Submitted jobs as files: which Slurm job a folder belongs to."""

import time
from dataclasses import asdict
from pathlib import Path

from espnet3.rundir.layout import attempt_dir
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import Begin, read_attempts, write_begin
from espnet3.rundir.records.job import (
    SubmittedJob,
    duplicate_of,
    next_time,
    read_job,
    read_job_id,
    renew_token,
    write_job,
    write_submission,
)

OWN = asdict(ProcessName.own())


def test_a_folder_belongs_to_the_job_that_was_noted_or_else_starts_first(tmp_path: Path):
    assert duplicate_of(tmp_path, "7") == ""  # nobody was left to note it
    assert read_job_id(tmp_path) == "7"
    assert duplicate_of(tmp_path, "7") == ""  # it starts again
    assert duplicate_of(tmp_path, "8") == "7"
    write_submission(tmp_path, "8")
    assert (duplicate_of(tmp_path, "7"), duplicate_of(tmp_path, "8")) == ("8", "")


def test_a_follow_up_job_that_starts_before_its_id_is_noted_runs_the_folder(tmp_path: Path):
    folder = tmp_path / "train-1"
    write_job(folder, SubmittedJob("train-1", ["train"], "espnet3:a-0", "a", 0, "", False, [], 3, OWN), "")
    write_submission(folder, "7")
    renew_token(folder, "espnet3:b")
    job = read_job(folder)
    assert job is not None and job.token == "espnet3:b" and read_job_id(folder) is None
    assert duplicate_of(folder, "8") == ""
    assert duplicate_of(folder, "7") == "8", "the first one comes back"


def test_records_are_in_order_whatever_the_clocks_of_the_hosts_that_write_them(tmp_path: Path):
    ahead = time.time() + 20
    for number in (1, 2):
        started_at = ahead if number == 1 else next_time(tmp_path)
        begin = Begin("train", number, "local", 1, OWN, started_at=started_at)
        write_begin(attempt_dir(tmp_path, "train", number), begin)
    write_begin(
        attempt_dir(tmp_path, "validate", 1),
        Begin("validate", 1, "local", 1, OWN, started_at=next_time(tmp_path)),
    )
    order = [(attempt.begin.stage, attempt.begin.number) for attempt in read_attempts(tmp_path)]
    assert order == [("train", 1), ("train", 2), ("validate", 1)]
