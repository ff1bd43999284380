"""Steps: nodes and tasks of the allocation that this process is in, and the environment of an srun in it."""

import os
import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from espnet3.errors import UserError
from espnet3.slurm.allocation import in_step
from espnet3.slurm.command import ask
from espnet3.slurm.scontrol import fields

_STEPS_END_S = 60.0
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
_SHAPE = re.compile(r"SLURM_(NPROCS|NTASKS(_PER_\w+)?|CPUS_PER_\w+|GPUS(_PER_\w+)?|TRES_PER_TASK)")
"""Variables by which srun inherits the options of sbatch and salloc."""


def srun_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of an srun in the user's allocation: only its options decide its tasks.

    Inside another step, such as `srun --pty bash`, the new step overlaps it and shares its memory.
    """
    kept = {key: value for key, value in environment.items() if not _SHAPE.fullmatch(key)}
    if in_step(environment):
        kept = {key: value for key, value in kept.items() if not key.startswith("SLURM_MEM_PER_")}
        kept |= {"SLURM_OVERLAP": "1", "SLURM_MEM_PER_NODE": "0"}
    return kept


def allocated_nodes() -> list[str]:
    """Names of the allocation's nodes, rank 0's first."""
    return ask(["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]).split()


def end_own_steps(job_id: str, *, save_within_s: float) -> None:
    """Wait until the steps of this process's job have ended; after `save_within_s` they are killed.

    Their srun is without its parent, and has asked its tasks to stop.
    """
    deadline, kill = time.monotonic() + save_within_s, False
    while True:
        with suppress(UserError):
            lines = ask(["squeue", "--noheader", "--steps", f"--jobs={job_id}", "--format=%i"]).split()
            steps = [step for step in lines if step.rpartition(".")[2].isdigit()]
            if not steps or (kill and time.monotonic() > deadline):
                return
            if not kill and time.monotonic() > deadline:
                ask(["scancel", "--signal=KILL", *steps])
                kill, deadline = True, time.monotonic() + _STEPS_END_S
        time.sleep(1.0)


def node_address(node: str) -> str:
    """The IP address of `node`, for machines that can't resolve its name."""
    shown = ask(["scontrol", "--oneliner", "show", "node", node])
    address = fields(shown).get("NodeAddr", node)
    try:
        found = [str(one[4][0]) for one in socket.getaddrinfo(address, None, socket.AF_UNSPEC)]
        # a name that resolves to 127.0.1.1, too, as that of this host may
        return next((one for one in found if not ip_address(one.partition("%")[0]).is_loopback), found[0])
    except OSError:
        raise UserError(
            f"node {node} can't be reached: neither its name nor Slurm's NodeAddr={address} resolves here;"
            " ask the site for /etc/hosts or DNS entries of the nodes"
        ) from None


@dataclass(frozen=True)
class StepTask:
    """The position of a process in its step; the step may have fewer nodes and tasks than its job."""

    rank: int
    world_size: int
    local_rank: int
    node_rank: int
    num_nodes: int
    node: str


def own_task(environment: Mapping[str, str] = os.environ) -> StepTask:
    """The task of a step that this process is, from Slurm's variables."""
    names = ("PROCID", "STEP_NUM_TASKS", "LOCALID", "NODEID", "STEP_NUM_NODES")
    rank, world_size, local_rank, node_rank, num_nodes = (int(environment[f"SLURM_{name}"]) for name in names)
    node = environment.get("SLURMD_NODENAME", "")
    return StepTask(rank, world_size, local_rank, node_rank, num_nodes, node)


def is_first_task(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is its step's first task, or in no step at all."""
    return not in_step(environment) or environment.get("SLURM_PROCID", "0") == "0"


def allocated_gpus(environment: Mapping[str, str] = os.environ) -> int:
    """Number of GPUs that Slurm has allocated to this process."""
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        visible = environment.get(name, "")
        if visible and visible != "NoDevFiles":
            return len(visible.split(","))
    number = environment.get("SLURM_GPUS_ON_NODE", "")
    return int(number) if number.isdigit() else 0


def forked_task_environment(pid: int) -> dict[str, str]:
    """The variables that Slurm would set for a task with process id `pid`."""
    return {"SLURM_TASK_PID": str(pid)}


def smaller_step_environment(
    rank: int, *, nodes: int, tasks_per_node: int, gpus_per_node: int
) -> dict[str, str]:
    """The variables that Slurm would set for `rank` in a step with this many nodes, tasks and GPUs."""
    tasks = str(nodes * tasks_per_node)
    layout = f"{tasks_per_node}(x{nodes})" if nodes > 1 else str(tasks_per_node)
    smaller = {f"SLURM_{name}": tasks for name in ("NTASKS", "NPROCS", "STEP_NUM_TASKS")}
    smaller |= {f"SLURM_{name}": str(nodes) for name in ("NNODES", "STEP_NUM_NODES")}
    smaller |= {f"SLURM_{name}": layout for name in ("TASKS_PER_NODE", "STEP_TASKS_PER_NODE")}
    smaller["SLURM_PROCID"] = str(rank)
    for name in _VISIBLE:
        if name in os.environ:
            smaller[name] = ",".join(os.environ[name].split(",")[:gpus_per_node])
    return smaller
