"""Exit codes of ends, and an end from an exit code."""

from espnet3.outcomes.exit_code import end_without_result, exit_code, exit_code_of_all
from espnet3.rundir.attempt import End


def test_an_exit_code_tells_what_is_to_be_continued():
    codes = [exit_code(End(outcome)) for outcome in ("done", "failed", "killed", "stopped")]
    assert codes == [0, 1, 1, 75] and exit_code(None) == 130


def test_of_several_the_worst_counts():
    assert exit_code_of_all([]) == exit_code_of_all(["done", "done"]) == 0
    assert exit_code_of_all(["done", "stopped"]) == 75
    assert exit_code_of_all({"done", "stopped", "cancelled"}) == exit_code_of_all(["failed"]) == 1


def test_a_process_without_a_result_has_failed_with_its_last_line():
    assert end_without_result(2, ["one", "espnet3: no such file"]).reason == "espnet3: no such file"
    end = end_without_result(-9, [])
    assert (end.outcome, end.reason) == ("failed", "exit code -9")
