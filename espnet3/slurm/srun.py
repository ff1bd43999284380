"""The srun command lines that start the tasks of a step, and what srun says against them."""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from espnet3.resources import Resources
from espnet3.slurm.sbatch_options import gpu_option

_ANSWER_S = 20.0
_CAN_NOT_START = re.compile(
    r"execve\(\): .*|\bcommand not found$|^(env|/usr/bin/env): .*: No such file or directory$"
    r"|[Ee]xited with exit code 12[67]$"
    r"|^srun: (unrecognized|invalid|ambiguous) option|^srun: option .* (requires|doesn't allow) an argument"
    r"|^srun: (error|fatal): .*\b([Ii]nvalid|[Uu]nrecognized|[Uu]nknown)\b.*\b(argument|option|specification)"
)
"""Messages about a program or an option that won't be better at the next attempt."""


def start_error(messages: Iterable[str]) -> str:
    """The first of srun's `messages` that says that program or options are wrong; empty if none does.

    Only for steps none of whose tasks has begun: what tasks print may contain such lines, too.
    """
    return next((line.strip() for line in messages if _CAN_NOT_START.search(line)), "")


def option_error(arguments: Sequence[str]) -> str:
    """What srun says against its further `arguments`, without starting anything; empty if it takes them.

    It does not look at all values, such as that of --cpu-bind, before it starts a step.
    """
    if not arguments or not all(re.fullmatch(r"-\w.*|--\w.*", argument) for argument in arguments):
        return ""  # a word that belongs to the option before it could be taken for a program
    command = ["srun", *arguments, "--version"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return start_error(done.stderr.splitlines()) if done.returncode else ""


def srun_command(
    resources: Resources,
    attempt: Path,
    output: Path,
    *,
    program: Sequence[str],
    nodes: Sequence[str] = (),
) -> list[str]:
    """The command that starts one task per rank of an attempt; it ends when all tasks end or one fails.

    Args:
        resources: of the stage.
        attempt: the attempt's directory, from which the tasks read what to run.
        output: file for what tasks print before they open their own logs; `%t` is the rank.
        program: what each task runs: a module and its first arguments; `attempt` is the last one.
        nodes: names of the nodes to use; by default Slurm chooses.
    """
    return [
        *_srun(resources, attempt.name, nodes),
        *("--unbuffered", f"--output={output}", "--open-mode=append", "--input=none"),
        *resources.srun_args,
        *_python(resources, *program),
        str(attempt),
    ]


def warm_command(resources: Resources, name: str, nodes: Sequence[str], program: Sequence[str]) -> list[str]:
    """The command that starts warm ranks: srun's stdin goes to all of them, and it prints their output."""
    return [
        *_srun(resources, name, nodes),
        *resources.srun_args,
        *_python(resources, *program),
    ]


def killed_tasks(messages: str) -> dict[int, str]:
    """The tasks that a signal has ended, and by which: "srun: error: node1: tasks 1,3-4: Killed"."""
    tasks: dict[int, str] = {}
    for ranges, how in re.findall(r"^srun: error: \S+: tasks? ([\d,-]+): (.+)$", messages, re.MULTILINE):
        if how.startswith(("Exited with", "unknown")):
            continue
        for first, _, last in (numbers.partition("-") for numbers in ranges.split(",")):
            tasks |= dict.fromkeys(range(int(first), int(last or first) + 1), _killed_by(how))
    return tasks


def _killed_by(how: str) -> str:
    """The name of a signal that srun describes: "Segmentation fault (core dumped)": "SIGSEGV"."""
    named = (number.name for number in signal.Signals if how.startswith(signal.strsignal(number) or "?"))
    return next(named, how.lower())


def _srun(resources: Resources, name: str, nodes: Sequence[str]) -> list[str]:
    tasks = resources.nodes * resources.tasks_per_node
    return [
        *("srun", "--kill-on-bad-exit=1", f"--job-name={name}"),
        *(f"--nodes={resources.nodes}", f"--ntasks={tasks}", f"--ntasks-per-node={resources.tasks_per_node}"),
        *([f"--nodelist={','.join(nodes)}"] if nodes else []),
        *(f"--{name}={value}" for name, value in (resources.srun_options() | gpu_option(resources)).items()),
    ]


def _python(resources: Resources, *program: str) -> list[str]:
    python = shlex.split(resources.python) if resources.python else [sys.executable]
    return [*python, "-u", "-m", *program]
