"""A warm process (rank) of a step: it imports what stages need once, and each attempt runs in a fork of it.

Requests come on standard input, which srun passes to every rank; the exit of each child is reported on
standard output, which srun passes back. This process computes nothing: it starts no threads (except
OpenBLAS's, which is fork-safe) and uses no GPU, so a fork of it equals a fresh process after the same
imports. It ends at end of file on standard input.
"""

import json
import os
import select
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from espnet3.launcher.rank.interrupts import STOP_SIGNALS
from espnet3.launcher.rank.memory_events import own_oom_kills
from espnet3.launcher.rank.placement import TaskPlacement
from espnet3.launcher.rank.process_exit import exit_after
from espnet3.launcher.rank.task import run_task
from espnet3.parent_death import signal_on_parent_death
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
    handlers = {int(number): signal.signal(number, _ignore) for number in (*STOP_SIGNALS, signal.SIGCHLD)}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    exits_fd = os.dup(1)
    os.dup2(2, 1)  # what an import prints must not reach srun's pipe
    preload()
    step_task, warm_pid = TaskPlacement.in_step(), os.getpid()
    to_run = serve(step_task, exits_fd, handlers)
    if to_run is None:
        os._exit(0)
    request, attempt_task = to_run
    _set_up_fork(request, attempt_task, step_task, warm_pid)
    exit_after(partial(run_task, request.attempt, attempt_task))


def serve(
    step_task: TaskPlacement, exits_fd: int, handlers: Mapping[int, Any]
) -> tuple[WarmRankRequest, TaskPlacement] | None:
    """Fork a child for each attempt, report its exit, and pass signals on to it, until standard input ends.

    Args:
        step_task: this rank of the step.
        exits_fd: descriptor to which "RANK CODE" is written, the code negative for a signal.
        handlers: the signal handlers of the children.

    Returns:
        None in this process. In a child: the request and its rank of the attempt; STOP_SIGNALS are blocked.
    """
    wakeup_reader, wakeup_writer = os.pipe()
    for descriptor in (wakeup_reader, wakeup_writer):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wakeup_writer)
    child, rank, partial_line, stdin_is_open = 0, 0, b"", True
    early_log, oom_kills = Path(), 0
    while stdin_is_open or child:
        ready, _, _ = select.select([wakeup_reader, *([0] if stdin_is_open else [])], [], [])
        if wakeup_reader in ready:
            received_signals = set(os.read(wakeup_reader, 4096)) & set(STOP_SIGNALS)
            for number in received_signals if child else ():
                os.kill(child, number)  # some sites signal process groups, and the child leads its own
        if child and (ended := os.waitpid(child, os.WNOHANG))[0]:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # processes that the child started
            child = 0
            if own_oom_kills() > oom_kills:  # Slurm says it only when the step is over
                with early_log.open("a") as log:
                    log.write("out of memory: the kernel has ended a process of this rank (oom_kill)\n")
            os.write(exits_fd, f"{rank} {os.waitstatus_to_exitcode(ended[1])}\n".encode())
        if 0 not in ready:
            continue
        received = os.read(0, 65536)
        stdin_is_open = bool(received)
        *lines, partial_line = (partial_line + received).split(b"\n")
        requests = [WarmRankRequest(**json.loads(line)) for line in lines]
        if not stdin_is_open:  # the batch process has closed it, or is gone
            requests.append(WarmRankRequest(signal=signal.SIGUSR1))
        for request in requests:
            if request.signal and child:
                os.kill(child, request.signal)
            attempt_task = request.attempt_task(step_task) if request.attempt else None
            if attempt_task is None:
                continue
            assert not child, f"{request.attempt} before {child} has ended"
            rank = attempt_task.rank
            early_log, oom_kills = _early_log(request, rank), own_oom_kills()
            # Blocked, so that no signal is lost before the child has its handlers.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            child = os.fork()
            if not child:
                signal.set_wakeup_fd(-1)
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                for descriptor in (wakeup_reader, wakeup_writer, exits_fd):
                    os.close(descriptor)
                return request, attempt_task
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return None


def _ignore(number: int, frame: FrameType | None) -> None:
    """These signals are for the child, to which they are passed on."""


def _early_log(request: WarmRankRequest, rank: int) -> Path:
    """What a rank prints before it opens its own log."""
    return Path(request.attempt) / f"early-{rank}.log"


def _set_up_fork(
    request: WarmRankRequest, attempt_task: TaskPlacement, step_task: TaskPlacement, warm_pid: int
) -> None:
    """Give this fork of the process `warm_pid` the state of a process that srun starts for the attempt."""
    import numpy as np
    import torch

    # A warm rank that is killed leaves no child behind.
    signal_on_parent_death(signal.SIGKILL, warm_pid)
    os.setpgid(0, 0)
    devnull = os.open(os.devnull, os.O_RDONLY)
    early_log = _early_log(request, attempt_task.rank)
    output = os.open(early_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor, number in ((devnull, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    os.close(devnull)
    os.close(output)
    os.environ.update(forked_task_environment(os.getpid()))
    if attempt_task != step_task:
        smaller = smaller_step_environment(
            attempt_task.rank,
            nodes=request.nodes,
            tasks_per_node=request.tasks_per_node,
            gpus_per_node=request.gpus_per_node,
        )
        os.environ.update(smaller)
    # Python's own generator is reseeded after a fork; these two would draw the same in all children.
    np.random.seed()
    torch.default_generator.seed()
