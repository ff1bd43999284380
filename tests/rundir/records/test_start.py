"""The starts of a job: each once, with its begin and its latest end."""

from espnet3.rundir.records.start import JobStart, begin_start, end_start, read_starts


def test_a_start_that_goes_on_after_an_attempt_keeps_its_begin_and_gets_a_later_end(tmp_path):
    begin_start(tmp_path, JobStart("12_3.0", 2, 4, began_at=5.0))
    end_start(tmp_path, "12_3.0")
    (first,) = read_starts(tmp_path)
    begin_start(tmp_path, JobStart("12_3.0", 2, 4, began_at=900.0))
    end_start(tmp_path, "12_3.0")
    (again,) = read_starts(tmp_path)
    assert (again.began_at, again.nodes, again.gpus_per_node) == (5.0, 2, 4)
    assert again.ended_at >= first.ended_at > 5.0


def test_starts_are_in_order_and_one_that_never_began_does_not_end(tmp_path):
    begin_start(tmp_path, JobStart("12.1", 1, 0, began_at=50.0))
    begin_start(tmp_path, JobStart("12.0", 1, 0, began_at=5.0))
    end_start(tmp_path, "12.7")
    (tmp_path / "start-12.9.json").write_text("{torn")
    assert [start.slurm_job for start in read_starts(tmp_path)] == ["12.0", "12.1"]
    assert read_starts(tmp_path)[0].ended_at is None
