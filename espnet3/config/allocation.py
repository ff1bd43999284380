"""The resources of stages that run inside a Slurm allocation (sbatch, salloc)."""

from typing import Any

from omegaconf import OmegaConf

from espnet3.slurm.allocation import Allocation
from espnet3.stage_table import STAGES

OmegaConf.register_new_resolver("share", lambda total, tasks: max(1, total // tasks), replace=True)


def allocated_resources(allocation: Allocation, stage: str) -> dict[str, Any]:
    """Values of `resources.<stage>`: the whole allocation, or one task's share for a stage of one task."""
    tasks = allocation.tasks_per_node or max(1, allocation.gpus_per_node)
    if not STAGES[stage].many_tasks:
        share = allocation.cpus_per_task or max(1, allocation.cpus_per_node // tasks)
        return {
            "nodes": 1,
            "tasks_per_node": 1,
            "gpus_per_node": min(1, allocation.gpus_per_node),
            "cpus_per_task": share,
            "mem_gb": None,
        }
    return {
        "nodes": allocation.nodes,
        "gpus_per_node": allocation.gpus_per_node,
        "tasks_per_node": allocation.tasks_per_node or "${max:1,${.gpus_per_node}}",
        "cpus_per_task": allocation.cpus_per_task
        or f"${{share:{allocation.cpus_per_node},${{.tasks_per_node}}}}",
        "mem_gb": None,
    }
