"""Checks of a job before it is submitted, for mistakes that sbatch does not report."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from espnet3.errors import UserError
from espnet3.number_text import counted
from espnet3.resources import Resources
from espnet3.slurm.site.partitions import Partition, eligible_partitions
from espnet3.slurm.srun import option_error


def check_script(script: Path, resources: Resources, where: str) -> None:
    """Check the shell syntax of the user's `setup` lines, the options of srun, and that `python` exists.

    Raises:
        UserError: naming the key below `where`, such as resources.train.
    """
    command = shlex.split(resources.python or "")
    if command and Path(command[0]).is_absolute() and not os.access(command[0], os.X_OK):
        raise UserError(f"{where}.python={resources.python}: there is no program {command[0]}")
    if problem := option_error(resources.srun_args):
        raise UserError(f"{where}.srun_args={list(resources.srun_args)}: {problem}")
    try:
        checked = subprocess.run(
            ["bash", "-n", str(script)], capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError:
        return  # no bash on this machine to check with
    if checked.returncode:
        message = checked.stderr.strip().splitlines()[0].removeprefix(f"{script}: ")
        raise UserError(f"{where}.setup={list(resources.setup)}: is no shell: {message}")


def check_limits(resources: Resources, partitions: Sequence[Partition], where: str) -> None:
    """Check the partitions' limits: where Slurm does not enforce them, it queues a job that never starts.

    A quality of service may lift such limits: nothing is checked if `qos` is given.

    Raises:
        UserError: naming the key below `where`, such as resources.train, and the limit.
    """
    possible = eligible_partitions(partitions, resources.partition)
    if resources.qos or not possible:
        return
    names = ", ".join(part.name for part in possible)
    longest = max(possible, key=lambda part: float("inf") if part.max_minutes is None else part.max_minutes)
    if longest.max_minutes is not None and resources.timeout_min > longest.max_minutes:
        raise UserError(
            f"{where}.timeout_min={resources.timeout_min}: partition {names} takes jobs of at most"
            f" {longest.max_minutes:.0f} minutes ({longest.time_limit}), after which a training goes on"
        )
    most = max(part.nodes if part.max_nodes is None else part.max_nodes for part in possible)
    if resources.nodes + resources.spare_nodes > most:
        spares = f" with spare_nodes={resources.spare_nodes}" if resources.spare_nodes else ""
        raise UserError(
            f"{where}.nodes={resources.nodes}{spares}: partition {names} takes jobs of at most"
            f" {counted(most, 'node')}"
        )
