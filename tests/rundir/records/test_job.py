"""Submitted jobs as files: which Slurm job a folder belongs to."""

from pathlib import Path

from espnet3.rundir.records.job import duplicate_of, read_job_id, write_submission


def test_a_folder_belongs_to_the_job_that_was_noted_or_else_starts_first(tmp_path: Path):
    assert duplicate_of(tmp_path, "7") == ""  # nobody was left to note it
    assert read_job_id(tmp_path) == "7"
    assert duplicate_of(tmp_path, "7") == ""  # it starts again
    assert duplicate_of(tmp_path, "8") == "7"
    write_submission(tmp_path, "8")
    assert (duplicate_of(tmp_path, "7"), duplicate_of(tmp_path, "8")) == ("8", "")
