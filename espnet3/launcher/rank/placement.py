"""Which task of an attempt a process is: rank, world size, node."""

from dataclasses import dataclass

from espnet3.slurm.step import own_task


@dataclass(frozen=True)
class TaskPlacement:
    """Which task of an attempt a process is."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    node_rank: int = 0
    num_nodes: int = 1
    node: str = ""

    @classmethod
    def in_step(cls) -> "TaskPlacement":
        """As srun sets it for the step, which may have fewer nodes and tasks than its job."""
        return cls(**vars(own_task()))
