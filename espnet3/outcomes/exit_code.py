"""Exit codes of results, and the result of a process that wrote none."""

from collections.abc import Collection, Sequence

from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.outcome import EXIT_CODES

KILLED_BY_CTRL_C = 130
"""The exit code after a second Ctrl-C."""


def exit_code(result: AttemptResult | None) -> int:
    """The exit code of a command or a job; None stands for a second Ctrl-C."""
    return KILLED_BY_CTRL_C if result is None else EXIT_CODES[result.outcome]


def exit_code_of_all(states: Collection[str]) -> int:
    """The exit code of a command over several trials or stages: 75 if those not done are all stopped."""
    if set(states) <= {"done"}:
        return EXIT_CODES["done"]
    return EXIT_CODES["stopped"] if set(states) <= {"done", "stopped"} else EXIT_CODES["failed"]


def result_of_process(code: int, output: Sequence[str]) -> AttemptResult:
    """The result of a process that wrote none: the last line of its output, else its exit code."""
    return AttemptResult("failed", output[-1] if output else f"exit code {code}")
