"""A warm process (rank) of a step: it imports what stages need once, and each attempt runs in a fork of it.

Orders come on standard input, which srun passes to every rank; each end of a child is told on standard
output, which srun passes back. This process computes nothing: it has no threads (but OpenBLAS's, which knows
of forks) and touches no GPU, so that a fork of it is what a fresh process would be after the same imports. It
ends when its standard input does.
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
from espnet3.launcher.rank.placement import TaskPlacement
from espnet3.launcher.rank.process_exit import exit_after
from espnet3.launcher.rank.task import run_task
from espnet3.parent_death import signal_on_parent_death
from espnet3.stages.preloading import preload

_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")


@dataclass(frozen=True)
class Order:
    """What all ranks of a step are told, as one line: run an attempt, or pass a signal to what runs it."""

    attempt: str = ""
    """Its directory."""
    nodes: int = 1
    """The ranks on the first of the step's nodes run it,"""
    tasks_per_node: int = 1
    """the first on each."""
    gpus_per_node: int = 0
    signal: int = 0

    def line(self) -> bytes:
        """As it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def place(self, here: TaskPlacement) -> TaskPlacement | None:
        """Which rank of the attempt the rank `here` of the step is; None if it is none."""
        if here.node_rank >= self.nodes or here.local_rank >= self.tasks_per_node:
            return None
        world_size = self.nodes * self.tasks_per_node
        if world_size == here.world_size:
            return here
        rank = here.node_rank * self.tasks_per_node + here.local_rank
        return replace(here, rank=rank, world_size=world_size, num_nodes=self.nodes)


def main() -> NoReturn:
    """Serve the step's orders; what they ask for is run in children, which leave from here, too."""
    before = {int(number): signal.signal(number, _nothing) for number in (*STOP_SIGNALS, signal.SIGCHLD)}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    answers = os.dup(1)
    os.dup2(2, 1)  # what an import prints is no answer
    preload()
    here, warm = TaskPlacement.in_step(), os.getpid()
    found = serve(here, answers, before)
    if found is None:
        os._exit(0)
    order, place = found
    _become_a_task(order, place, here, warm)
    exit_after(partial(run_task, order.attempt, place))


def serve(
    here: TaskPlacement, answers: int, handlers: Mapping[int, Any]
) -> tuple[Order, TaskPlacement] | None:
    """Start a child for each attempt, tell its end, and pass signals on to it, until standard input ends.

    Args:
        here: which rank of the step this is.
        answers: descriptor to which "RANK CODE" is written, the code negative for a signal.
        handlers: what children have for signals, in place of this process's own.

    Returns:
        None at the end. In a child what it has to run, and as which rank; signals to stop are blocked there.
    """
    woken, waker = os.pipe()
    for descriptor in (woken, waker):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(waker)
    child, rank, rest, listening = 0, 0, b"", True
    while listening or child:
        ready, _, _ = select.select([woken, *([0] if listening else [])], [], [])
        if woken in ready:
            os.read(woken, 4096)
        if child and (ended := os.waitpid(child, os.WNOHANG))[0]:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # what it has left behind
            child = 0
            os.write(answers, f"{rank} {os.waitstatus_to_exitcode(ended[1])}\n".encode())
        if 0 not in ready:
            continue
        received = os.read(0, 65536)
        listening = bool(received)
        *lines, rest = (rest + received).split(b"\n")
        orders = [Order(**json.loads(line)) for line in lines]
        if not listening:  # the batch process has closed it, or is gone
            orders.append(Order(signal=signal.SIGUSR1))
        for order in orders:
            if order.signal and child:
                os.kill(child, order.signal)
            place = order.place(here) if order.attempt else None
            if place is None:
                continue
            assert not child, f"{order.attempt} before {child} has ended"
            rank = place.rank
            # None may be lost before the child can act on it.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            child = os.fork()
            if not child:
                signal.set_wakeup_fd(-1)
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                for descriptor in (woken, waker, answers):
                    os.close(descriptor)
                return order, place
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return None


def _nothing(number: int, frame: FrameType | None) -> None:
    """These signals are for the child: Slurm sends them to all processes."""


def _become_a_task(order: Order, place: TaskPlacement, here: TaskPlacement, warm: int) -> None:
    """Make this fork of the process `warm` what a process is that srun starts for the attempt alone."""
    import numpy as np
    import torch

    # A warm rank that is killed leaves nothing behind.
    signal_on_parent_death(signal.SIGKILL, warm)
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    early = Path(order.attempt) / f"early-{place.rank}.log"
    output = os.open(early, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor, number in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(output)
    os.environ["SLURM_TASK_PID"] = str(os.getpid())
    if place != here:
        os.environ.update(_smaller_step(order, place))
    # Python's own generator does so by itself; these would draw the same in all children.
    np.random.seed()
    torch.default_generator.seed()


def _smaller_step(order: Order, place: TaskPlacement) -> dict[str, str]:
    """What Slurm would say of a step that has only the ranks of the attempt."""
    tasks = str(place.world_size)
    each = f"{order.tasks_per_node}(x{order.nodes})" if order.nodes > 1 else str(order.tasks_per_node)
    said = {f"SLURM_{name}": tasks for name in ("NTASKS", "NPROCS", "STEP_NUM_TASKS")}
    said |= {f"SLURM_{name}": str(order.nodes) for name in ("NNODES", "STEP_NUM_NODES")}
    said |= {f"SLURM_{name}": each for name in ("TASKS_PER_NODE", "STEP_TASKS_PER_NODE")}
    said["SLURM_PROCID"] = str(place.rank)
    for name in _VISIBLE:
        if name in os.environ:
            said[name] = ",".join(os.environ[name].split(",")[: order.gpus_per_node])
    return said
