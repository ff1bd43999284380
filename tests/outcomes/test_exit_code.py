"""Exit codes of results, and a result from an exit code."""

from espnet3.outcomes.exit_code import exit_code, exit_code_of_all, result_of_process
from espnet3.rundir.records.attempt import AttemptResult


def test_an_exit_code_tells_what_is_to_be_continued():
    codes = [exit_code(AttemptResult(outcome)) for outcome in ("done", "failed", "killed", "stopped")]
    assert codes == [0, 1, 1, 75] and exit_code(None) == 130


def test_of_several_the_worst_counts():
    assert exit_code_of_all([]) == exit_code_of_all(["done", "done"]) == 0
    assert exit_code_of_all(["done", "stopped"]) == 75
    assert exit_code_of_all({"done", "stopped", "cancelled"}) == exit_code_of_all(["failed"]) == 1


def test_a_process_without_a_result_has_failed_with_its_last_line():
    assert result_of_process(2, ["one", "espnet3: no such file"]).reason == "espnet3: no such file"
    result = result_of_process(-9, [])
    assert (result.outcome, result.reason) == ("failed", "exit code -9")
