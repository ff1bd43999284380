"""Exit codes: which one an end gives, and what one says of a process that left no result."""

from collections.abc import Collection, Sequence

from espnet3.rundir.attempt import End
from espnet3.rundir.outcome import EXIT_CODES

ENDED_AT_ONCE = 130
"""The exit code after a second Ctrl-C."""


def exit_code(end: End | None) -> int:
    """What a command, or a job, ends with; None stands for a second Ctrl-C."""
    return ENDED_AT_ONCE if end is None else EXIT_CODES[end.outcome]


def exit_code_of_all(states: Collection[str]) -> int:
    """What a command over several trials or stages ends with: 75 where some must only be continued."""
    if set(states) <= {"done"}:
        return EXIT_CODES["done"]
    return EXIT_CODES["stopped"] if set(states) <= {"done", "stopped"} else EXIT_CODES["failed"]


def end_without_result(code: int, output: Sequence[str]) -> End:
    """The end of a process that left no result: the last line of its output, else its exit code."""
    return End("failed", output[-1] if output else f"exit code {code}")
