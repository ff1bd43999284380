"""A warm process (rank) of a step: it imports what stages need once, and each attempt runs in a fork of it.

Requests come on standard input, which srun passes to every rank; the exit of each child is reported on
standard output, which srun passes back. This process starts no threads (except OpenBLAS's, which is
fork-safe) and uses no GPU. It ends at end of file on standard input.
"""

import json
import os
import signal
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from espnet3.launcher.rank.placement import TaskPlacement
from espnet3.launcher.rank.process_exit import exit_after
from espnet3.launcher.rank.task import run_task
from espnet3.launcher.rank.warm.fork_server import Asked, serve, set_up_fork, take_signals
from espnet3.launcher.rank.warm.memory_events import own_oom_kills
from espnet3.slurm.step import forked_task_environment, smaller_step_environment
from espnet3.stages.preloading import preload


@dataclass(frozen=True)
class WarmRankRequest:
    """A request to all ranks of a step, sent as one line: run an attempt, or signal the running one."""

    attempt: str = ""
    """The attempt's directory."""
    nodes: int = 1
    """How many nodes the attempt uses, from the step's first."""
    tasks_per_node: int = 1
    """How many ranks of each of these nodes, from the first."""
    gpus_per_node: int = 0
    signal: int = 0

    def line(self) -> bytes:
        """The request as it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def attempt_task(self, step_task: TaskPlacement) -> TaskPlacement | None:
        """The rank of the attempt that the step's rank `step_task` runs; None if it runs none."""
        if step_task.node_rank >= self.nodes or step_task.local_rank >= self.tasks_per_node:
            return None
        world_size = self.nodes * self.tasks_per_node
        if world_size == step_task.world_size:
            return step_task
        rank = step_task.node_rank * self.tasks_per_node + step_task.local_rank
        return replace(step_task, rank=rank, world_size=world_size, num_nodes=self.nodes)


def main() -> NoReturn:
    """Serve requests until standard input ends; in each forked child: run the task of an attempt."""
    handlers = take_signals()
    exits_fd = os.dup(1)
    os.dup2(2, 1)  # what an import prints must not reach srun's pipe
    preload()
    step_task, warm_pid = TaskPlacement.in_step(), os.getpid()
    to_run = serve(partial(_parse, step_task), exits_fd, handlers, partial(_note_oom, own_oom_kills()))
    if to_run is None:
        os._exit(0)
    request, attempt_task = to_run
    _set_up(request, attempt_task, step_task, warm_pid)
    exit_after(partial(run_task, request.attempt, attempt_task))


def _parse(step_task: TaskPlacement, line: bytes) -> Asked[tuple[WarmRankRequest, TaskPlacement]]:
    request = WarmRankRequest(**json.loads(line))
    attempt_task = request.attempt_task(step_task) if request.attempt else None
    work = {attempt_task.rank: (request, attempt_task)} if attempt_task else {}
    return Asked(work, request.signal)


def _early_log(request: WarmRankRequest, rank: int) -> Path:
    """What a rank prints before it opens its own log."""
    return Path(request.attempt) / f"early-{rank}.log"


def _note_oom(kills_before: int, work: tuple[WarmRankRequest, TaskPlacement]) -> None:
    """Write to the log of a rank that has ended that its memory was used up: Slurm says so after the step."""
    if own_oom_kills() > kills_before:
        with _early_log(work[0], work[1].rank).open("a") as log:
            log.write("out of memory: the kernel has ended a process of this rank (oom_kill)\n")


def _set_up(
    request: WarmRankRequest, attempt_task: TaskPlacement, step_task: TaskPlacement, warm_pid: int
) -> None:
    """Give this fork of the process `warm_pid` the state of a process that srun starts for the attempt."""
    # A warm rank that is killed leaves no child behind.
    set_up_fork(_early_log(request, attempt_task.rank), warm_pid, signal.SIGKILL)
    os.environ.update(forked_task_environment(os.getpid()))
    if attempt_task != step_task:
        smaller = smaller_step_environment(
            attempt_task.rank,
            nodes=request.nodes,
            tasks_per_node=request.tasks_per_node,
            gpus_per_node=request.gpus_per_node,
        )
        os.environ.update(smaller)
