"""Tells Lightning who this process is, so that it neither guesses nor starts processes itself."""

import os

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

from espnet3.rundir.task import Task


class TaskEnvironment(ClusterEnvironment):
    """The ranks of `task`, whose processes the launcher has started.

    Lightning would otherwise look for Slurm's variables, which are there in many places where they mean
    something else: inside submitit, in a shell of an allocation, in a trial that runs alone in its task.
    Several ranks find one another by MASTER_ADDR and MASTER_PORT.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    @property
    def creates_processes_externally(self) -> bool:
        """Always: every rank runs already."""
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
        """Never by itself: it is given to the Trainer."""
        return False

    def world_size(self) -> int:
        """Number of ranks."""
        return self._task.world_size

    def set_world_size(self, size: int) -> None:
        """The launcher has decided; `build_trainer` has compared."""

    def global_rank(self) -> int:
        """Rank among all."""
        return self._task.rank

    def set_global_rank(self, rank: int) -> None:
        """The launcher has decided."""

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
