"""The Slurm allocation (sbatch, salloc) that this process is in, from its environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from espnet3.errors import UserError
from espnet3.slurm.command import ask

_LARGEST_STEP_ID = 0xFFFFFFF0
"""Larger ids are those of batch scripts and of salloc's shells, which hold no resources."""


@dataclass(frozen=True)
class Allocation:
    """Resources on each node; where nodes differ, the minimum over the nodes."""

    job_id: str
    nodes: int
    cpus_per_node: int
    gpus_per_node: int = 0
    tasks_per_node: int | None = None
    """None: not requested."""
    cpus_per_task: int | None = None
    """None: not requested."""
    tasks_of_this_step: int = 0
    """Number of tasks of the step that this process is in; 0 outside of a step."""
    is_ours: bool = False
    """It belongs to a job that espnet3 submitted, or this process descends from a task of espnet3."""


def read_allocation(environment: Mapping[str, str]) -> Allocation | None:
    """The allocation that Slurm's variables in `environment` describe; None without one.

    In a salloc shell on a login node the variables do not give all GPUs: scontrol is asked then.
    """
    job_id = environment.get("SLURM_JOB_ID")
    if not job_id or "SLURM_JOB_NODELIST" not in environment:
        return None  # a lone SLURM_JOB_ID is one that a person, or a container, has passed on
    nodes = int(environment.get("SLURM_JOB_NUM_NODES", "1"))
    # Inside a step these variables describe the step: `srun --pty bash` is one task on the whole allocation.
    inside_step = in_step(environment)
    tasks = None if inside_step else _tasks_per_node(environment, nodes)
    cpus_per_task = environment.get("SLURM_CPUS_PER_TASK", "")
    return Allocation(
        job_id=job_id,
        nodes=nodes,
        cpus_per_node=min(per_node(environment.get("SLURM_JOB_CPUS_PER_NODE", "1"))),
        gpus_per_node=_gpus_per_node(environment, job_id, nodes, tasks),
        tasks_per_node=tasks,
        cpus_per_task=int(cpus_per_task) if cpus_per_task.isdigit() and not inside_step else None,
        tasks_of_this_step=int(environment.get("SLURM_STEP_NUM_TASKS", "1")) if inside_step else 0,
        is_ours="ESPNET3_JOB" in environment,
    )


def in_step(environment: Mapping[str, str]) -> bool:
    """Whether srun has started this process as a task of a step, which holds resources."""
    return int(environment.get("SLURM_STEP_ID", _LARGEST_STEP_ID)) < _LARGEST_STEP_ID


def per_node(text: str) -> list[int]:
    """One number per node from Slurm's abbreviated list: "8(x2),4" is [8, 8, 4]."""
    numbers = []
    for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        numbers += [int(number)] * int(times or 1)
    return numbers


def _tasks_per_node(environment: Mapping[str, str], nodes: int) -> int | None:
    ntasks_per_node = environment.get("SLURM_NTASKS_PER_NODE")
    if ntasks_per_node:
        return int(ntasks_per_node)
    if "SLURM_NTASKS" not in environment:
        return None  # SLURM_TASKS_PER_NODE is only how many would fit
    layout = per_node(environment.get("SLURM_TASKS_PER_NODE", ""))
    return max(1, min(layout or [int(environment["SLURM_NTASKS"]) // nodes]))


def _gpus_per_node(environment: Mapping[str, str], job_id: str, nodes: int, tasks: int | None) -> int:
    on_this_node, on_each_node = environment.get("SLURM_GPUS_ON_NODE"), environment.get("SLURM_GPUS_PER_NODE")
    total, per_task = environment.get("SLURM_GPUS"), environment.get("SLURM_GPUS_PER_TASK")
    if on_each_node:
        return _gpu_count(on_each_node)
    if on_this_node:
        return min(int(on_this_node), _gpu_count(total) // nodes) if total else int(on_this_node)
    if "SLURM_JOB_GPUS" in environment:
        return len(environment["SLURM_JOB_GPUS"].split(","))
    if total:
        return _gpu_count(total) // nodes
    if per_task:
        return _gpu_count(per_task) * (tasks or 1)
    # A compute node has SLURM_GPUS_ON_NODE when there are GPUs.
    return 0 if "SLURMD_NODENAME" in environment else _gpus_that_scontrol_shows(job_id, nodes)


def _gpu_count(text: str) -> int:
    """The number of GPUs in "4", "h100:4" or "h100:2,a100:2"."""
    last_words = (item.rpartition(":")[2] for item in text.split(","))
    return sum(int(word) if word.isdigit() else 1 for word in last_words)


def _gpus_that_scontrol_shows(job_id: str, nodes: int) -> int:
    try:
        shown = ask(["scontrol", "--oneliner", "show", "job", job_id], timeout_s=30.0)
    except UserError:
        return 0
    requested = re.search(r"\bTresPerNode=(\S+)", shown)
    gpus = [item for item in requested[1].split(",") if "gpu" in item] if requested else []
    if gpus:
        return _gpu_count(",".join(gpus))
    total = re.search(r"\b(?:Alloc)?TRES=\S*?gres/gpu=(\d+)", shown)
    return int(total[1]) // nodes if total else 0
