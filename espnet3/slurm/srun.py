"""The srun command lines that start the tasks of a step; pure functions of a stage's resources."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet3.resources import Resources
from espnet3.slurm.sbatch_options import gpu_option


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


def killed_tasks(messages: str) -> set[int]:
    """The tasks that a signal has ended, as srun prints it: "srun: error: node1: tasks 1,3-4: Killed"."""
    tasks: set[int] = set()
    for ranges, how in re.findall(r"^srun: error: \S+: tasks? ([\d,-]+): (.+)$", messages, re.MULTILINE):
        if how.startswith(("Exited with", "unknown")):
            continue
        for first, _, last in (numbers.partition("-") for numbers in ranges.split(",")):
            tasks |= set(range(int(first), int(last or first) + 1))
    return tasks


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
