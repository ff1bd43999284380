"""Numbers of attempts."""

from pathlib import Path

from espnet3.rundir.layout import attempt_dir, log_path, new_attempt


def test_an_attempt_is_new_though_the_one_before_was_killed_before_it_left_a_log(tmp_path: Path):
    assert new_attempt(tmp_path, "train") == 1
    log_path(tmp_path, "train", 9, 0).parent.mkdir(parents=True)
    attempt_dir(tmp_path, "train", 10).mkdir(parents=True)
    attempt_dir(tmp_path, "validate", 30).mkdir(parents=True)
    assert new_attempt(tmp_path, "train") == 11
