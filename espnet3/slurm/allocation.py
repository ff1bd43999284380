"""The Slurm allocation (sbatch, salloc) that this process is in, from its environment."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

_LARGEST_STEP_ID = 0xFFFFFFF0
"""Above it are the steps of batch scripts and of salloc's shells, which hold no resources."""


@dataclass(frozen=True)
class Allocation:
    """What is there on each node; where nodes differ, what each has at least."""

    job_id: str
    nodes: int
    cpus_per_node: int
    gpus_per_node: int = 0
    tasks_per_node: int | None = None
    """None: nobody said."""
    cpus_per_task: int | None = None
    """None: nobody said."""
    tasks_of_this_step: int = 0
    """How many processes like this one srun has started; 0 outside of its steps."""
    is_ours: bool = False
    """It belongs to a job of ours, or this process descends from a task of ours."""


def read_allocation(environment: Mapping[str, str]) -> Allocation | None:
    """The allocation that Slurm's variables in `environment` describe; None without one.

    One of salloc's on a login node does not tell all its GPUs by variables: then scontrol is asked.
    """
    job_id = environment.get("SLURM_JOB_ID")
    if not job_id:
        return None
    nodes = int(environment.get("SLURM_JOB_NUM_NODES", "1"))
    # The variables of tasks of a step are the step's own: `srun --pty bash` is one task on all that is there.
    inside = in_step(environment)
    tasks = None if inside else _tasks_per_node(environment, nodes)
    given_cpus = environment.get("SLURM_CPUS_PER_TASK", "")
    return Allocation(
        job_id=job_id,
        nodes=nodes,
        cpus_per_node=min(per_node(environment.get("SLURM_JOB_CPUS_PER_NODE", "1"))),
        gpus_per_node=_gpus_per_node(environment, job_id, nodes, tasks),
        tasks_per_node=tasks,
        cpus_per_task=int(given_cpus) if given_cpus.isdigit() and not inside else None,
        tasks_of_this_step=int(environment.get("SLURM_STEP_NUM_TASKS", "1")) if inside else 0,
        is_ours="ESPNET3_JOB" in environment,
    )


def in_step(environment: Mapping[str, str]) -> bool:
    """Whether srun has started this process as a task of a step, which holds resources."""
    return int(environment.get("SLURM_STEP_ID", _LARGEST_STEP_ID)) < _LARGEST_STEP_ID


def per_node(text: str) -> list[int]:
    """Numbers of the nodes as Slurm abbreviates them: "8(x2),4" is [8, 8, 4]."""
    numbers = []
    for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        numbers += [int(number)] * int(times or 1)
    return numbers


def _tasks_per_node(environment: Mapping[str, str], nodes: int) -> int | None:
    given = environment.get("SLURM_NTASKS_PER_NODE")
    if given:
        return int(given)
    if "SLURM_NTASKS" not in environment:
        return None  # SLURM_TASKS_PER_NODE is only how many would fit
    layout = per_node(environment.get("SLURM_TASKS_PER_NODE", ""))
    return max(1, min(layout or [int(environment["SLURM_NTASKS"]) // nodes]))


def _gpus_per_node(environment: Mapping[str, str], job_id: str, nodes: int, tasks: int | None) -> int:
    here, each = environment.get("SLURM_GPUS_ON_NODE"), environment.get("SLURM_GPUS_PER_NODE")
    total, per_task = environment.get("SLURM_GPUS"), environment.get("SLURM_GPUS_PER_TASK")
    if each:
        return _gpu_count(each)
    if here:
        return min(int(here), _gpu_count(total) // nodes) if total else int(here)
    if "SLURM_JOB_GPUS" in environment:
        return len(environment["SLURM_JOB_GPUS"].split(","))
    if total:
        return _gpu_count(total) // nodes
    if per_task:
        return _gpu_count(per_task) * (tasks or 1)
    # On a node there would be SLURM_GPUS_ON_NODE.
    return 0 if "SLURMD_NODENAME" in environment else _gpus_that_scontrol_shows(job_id, nodes)


def _gpu_count(text: str) -> int:
    """Of "4", "h100:4" or "h100:2,a100:2"."""
    last_words = (item.rpartition(":")[2] for item in text.split(","))
    return sum(int(word) if word.isdigit() else 1 for word in last_words)


def _gpus_that_scontrol_shows(job_id: str, nodes: int) -> int:
    command = ["scontrol", "--oneliner", "show", "job", job_id]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    asked = re.search(r"\bTresPerNode=(\S+)", shown)
    gpus = [item for item in asked[1].split(",") if "gpu" in item] if asked else []
    if gpus:
        return _gpu_count(",".join(gpus))
    total = re.search(r"\b(?:Alloc)?TRES=\S*?gres/gpu=(\d+)", shown)
    return int(total[1]) // nodes if total else 0
