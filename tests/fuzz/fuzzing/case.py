"""One case: what is tried, in a process of its own, and what was wrong about it."""

import faulthandler
import os
import re
import select
import signal
import sys
import tempfile
import traceback
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from fuzzing import guard
from fuzzing.sandbox import Sandbox, changes

TIME_LIMIT_S = 60.0
"""Of one case, which takes a fraction of a second otherwise."""
CODES = (0, 1, 2, 75)
INJECTED = "#SBATCH --injected"
"""No line of a script may begin so: it is in values only, after a line end."""


class Wrong(Exception):
    """The code under test gave a wrong answer; the message says which."""


@dataclass(frozen=True)
class Case:
    """What is tried."""

    text: str
    """All that is not as it should be, for who reads of a finding."""
    run: Callable[[], int]
    """Called in a process of its own; returns the exit code, or raises what is a finding."""
    writes: bool = False
    """Whether it may write files of its own in the sandbox."""
    codes: tuple[int, ...] = CODES
    """Exit codes that are right."""


@dataclass(frozen=True)
class Ended:
    """How the process of a case ended."""

    code: int
    """Negative: by this signal."""
    output: str
    errors: str
    is_hung: bool = False


@dataclass(frozen=True)
class Finding:
    """Something that must not be."""

    kind: str
    """The same for all cases with the same cause, as far as can be told."""
    detail: str


def run_case(case: Case, sandbox: Sandbox, time_limit_s: float = TIME_LIMIT_S) -> tuple[Ended, list[Finding]]:
    """Run `case`, and say what was wrong; the sandbox is left as the case has left it."""
    before = sandbox.now()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _be_child(case, sandbox, output, errors, time_limit_s)
        code, is_killed = _wait(child, time_limit_s + 10)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "surrogateescape"))
    ended = Ended(code, *texts, is_hung=is_killed or "\nTimeout (" in f"\n{texts[1]}")
    findings = judge(case, ended)
    for change in changes(before, sandbox.now(), foreign_only=case.writes):
        findings.append(Finding("touches a file", change))
    return ended, findings


def judge(case: Case, ended: Ended) -> list[Finding]:
    """What is wrong about the end of a case."""
    if ended.is_hung:
        return [Finding(f"hangs at {_hung_at(ended.errors)}", ended.errors[-3000:])]
    if ended.code == guard.CODE and guard.SIGN in ended.errors:
        _, _, what = ended.errors.partition(guard.SIGN)
        return [Finding(f"touches what is not its own, at {_frame(what)}", what)]
    if ended.code < 0:
        return [Finding(f"killed by signal {-ended.code}", ended.errors[-3000:])]
    if "Traceback (most recent call last)" in ended.errors:
        error = (_RAISED.findall(ended.errors) or ["?"])[-1]
        if error == Wrong.__module__ + ".Wrong":
            return [Finding(f"wrong: {ended.errors.rstrip().rpartition('Wrong: ')[2]}", ended.errors[-3000:])]
        return [Finding(f"traceback: {error} at {_frame(ended.errors)}", ended.errors[-3000:])]
    found = []
    if ended.code not in case.codes:
        found.append(Finding(f"exit code {ended.code}", ended.errors[-1000:]))
    if ended.code == 2 and not _is_one_line(ended.errors):
        found.append(Finding("a message that is not one line", repr(ended.errors[-1500:])))
    if found_in := [name for name in ("output", "errors") if _has_control_characters(getattr(ended, name))]:
        found.append(
            Finding(f"control characters in {found_in[0]}", repr(getattr(ended, found_in[0])[-1500:]))
        )
    if any(line.startswith(INJECTED) for line in ended.output.splitlines()):
        found.append(Finding("a line was injected into a script", ended.output[-3000:]))
    return found


def _be_child(
    case: Case, sandbox: Sandbox, output: IO[bytes], errors: IO[bytes], time_limit_s: float
) -> None:
    code = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, descriptor in enumerate((nothing, output.fileno(), errors.fileno())):
            os.dup2(descriptor, target)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        faulthandler.dump_traceback_later(time_limit_s, exit=True, file=2)
        sys.dont_write_bytecode = True
        guard.install(sandbox.folder, read_only=not case.writes)
        code = case.run()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:  # is the finding
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
        except Exception:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 98)


def _wait(child: int, time_limit_s: float) -> tuple[int, bool]:
    """Exit code of a child, negative for a signal; and whether it had to be killed."""
    descriptor = os.pidfd_open(child)
    try:
        is_over = bool(select.select([descriptor], [], [], time_limit_s)[0])
    finally:
        os.close(descriptor)
    if not is_over:
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), not is_over


def _is_one_line(errors: str) -> bool:
    """Whether each line is a message of the command, which has one for each run that it was given."""
    lines = errors.splitlines()
    return bool(lines) and all(line.startswith(("espnet3: ", "run.sh: ")) for line in lines)


def _has_control_characters(text: str) -> bool:
    return any(unicodedata.category(character) == "Cc" and character not in "\n\t" for character in text)


_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?::|$)", re.MULTILINE)
"""The name of an exception, at the end of its traceback."""
_FRAMES = re.compile(r'File "[^"]*/(espnet3/[^"]+)", line (\d+),? in (\w+)')


def _frame(trace: str) -> str:
    """The last line of ours in a traceback."""
    found = _FRAMES.findall(trace)
    path, line, function = found[-1] if found else ("?", "?", "?")
    return f"{path}:{line} {function}"


def _hung_at(trace: str) -> str:
    """The innermost line of ours in what faulthandler has written, which begins there."""
    _, _, stack = trace.rpartition("Timeout (")
    found = _FRAMES.findall(stack)
    path, line, function = found[0] if found else ("?", "?", "?")
    return f"{path}:{line} {function}"
