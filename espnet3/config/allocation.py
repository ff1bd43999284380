"""What stages have inside a Slurm allocation (sbatch, salloc): values of `resources.<stage>`."""

from typing import Any

from omegaconf import OmegaConf

from espnet3.slurm.allocation import Allocation
from espnet3.stage_table import STAGES

OmegaConf.register_new_resolver("share", lambda whole, parts: max(1, whole // parts), replace=True)


def allocated_resources(allocation: Allocation, stage: str) -> dict[str, Any]:
    """Values of `resources.<stage>`: all that is there, or for a stage that is one task its part."""
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
