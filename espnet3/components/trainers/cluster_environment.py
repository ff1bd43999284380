"""Gives Lightning this process's rank, so that it neither guesses it nor starts processes itself."""

import os

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

from espnet3.rundir.task import Task


class TaskEnvironment(ClusterEnvironment):
    """The ranks of `task`, whose processes the launcher has started.

    Lightning would otherwise read Slurm's variables, which often mean something else: inside submitit, in a
    shell of an allocation, in a trial that is a single task of a job.
    Several ranks connect through MASTER_ADDR and MASTER_PORT.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    @property
    def creates_processes_externally(self) -> bool:
        """Always: every rank is running already."""
        return True

    @property
    def main_address(self) -> str:
        """Host of rank 0."""
        return _variable("MASTER_ADDR")

    @property
    def main_port(self) -> int:
        """Port of rank 0's rendezvous."""
        return int(_variable("MASTER_PORT"))

    @staticmethod
    def detect() -> bool:
        """Never: it is given to the Trainer explicitly."""
        return False

    def world_size(self) -> int:
        """Number of ranks."""
        return self._task.world_size

    def set_world_size(self, size: int) -> None:
        """Nothing: the launcher sets it, and `build_trainer` has checked it."""

    def global_rank(self) -> int:
        """Rank among all."""
        return self._task.rank

    def set_global_rank(self, rank: int) -> None:
        """Nothing: the launcher sets it."""

    def local_rank(self) -> int:
        """Rank on this machine."""
        return self._task.local_rank

    def node_rank(self) -> int:
        """Which machine this is."""
        given = os.environ.get("NODE_RANK")
        ranks_per_node = max(1, self._task.world_size // self._task.num_nodes)
        return (
            int(given)
            if given is not None and self._task.world_size > 1
            else self._task.rank // ranks_per_node
        )


def _variable(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise RuntimeError(f"{name} is not set: the launcher exports it to every rank") from None
