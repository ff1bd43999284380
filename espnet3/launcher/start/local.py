"""Start an attempt's tasks on this machine, as forks of a warm process that has imported what they need."""

import os
import uuid
from pathlib import Path
from signal import Signals

from espnet3.launcher.planning.plan import Job
from espnet3.launcher.rank.warm.warm_process import ForkRequest
from espnet3.launcher.start.tasks import free_port, task_environment
from espnet3.launcher.start.warm_process import WarmProcess, warm_process
from espnet3.launcher.start.warm_step import WarmTasks
from espnet3.resources import Resources
from espnet3.rundir.files.private import check_private
from espnet3.rundir.layout import log_path
from espnet3.rundir.records.attempt import Begin
from espnet3.stage_table import STAGES

_RANK = "espnet3.launcher.rank.task.main_here"


class _Ranks:
    """The forks of a warm process that are the ranks of one attempt."""

    def __init__(self, process: WarmProcess, numbers: range) -> None:
        self._process, self._numbers = process, numbers
        self.log = process.log
        self.exits: dict[int, int] = {}

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def read_exits(self) -> None:
        self._process.read_exits()
        ended = self._process.exits
        self.exits = {rank: ended[number] for rank, number in enumerate(self._numbers) if number in ended}

    def send_signal(self, number: Signals) -> None:
        for fork in self._numbers:
            self._process.send_signal(fork, number)

    def end(self) -> None:
        self._process.end()


def start_local(job: Job, exp_dir: Path, directory: Path, begin: Begin) -> WarmTasks:
    """Start the tasks of `job` on this machine; returns at once.

    Args:
        job: the job.
        exp_dir: the run directory.
        directory: the attempt's, with its description and configuration.
        begin: how the attempt begins.
    """
    check_private(directory)
    process, world_size = warm_process(job.resources), job.world_size
    numbers = process.fork(
        ForkRequest(
            _RANK,
            arguments=[[str(directory), str(rank), str(world_size)] for rank in range(world_size)],
            output=[str(directory / f"early-{rank}.log") for rank in range(world_size)],
            environment={**os.environ, "CUDA_VISIBLE_DEVICES": _visible_gpus(job.resources)},
            folder=str(Path.cwd()),
            needs_torch="manifests" in STAGES[job.stage].reads,
        )
    )
    log = log_path(exp_dir, job.stage, begin.number, rank=0)
    return WarmTasks(directory, log, world_size, _Ranks(process, numbers))


def _visible_gpus(resources: Resources) -> str:
    """As many GPUs as the job asks for, from the first."""
    return ",".join(map(str, range(resources.gpus_per_node)))


def local_environment(job: Job) -> dict[str, str]:
    """Environment variables of every task of a local job: threads, and the rendezvous of the ranks."""
    environment = task_environment(job.resources)
    if job.world_size > 1:
        port = free_port(uuid.uuid4().hex)
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return environment
