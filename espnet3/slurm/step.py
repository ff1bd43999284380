"""Nodes of the allocation that this process is in, and the environment of an srun in it."""

import os
import re
import socket
from collections.abc import Mapping

from espnet3.errors import UserError
from espnet3.slurm.allocation import in_step
from espnet3.slurm.command import ask
from espnet3.slurm.scontrol import fields

_SHAPE = re.compile(r"SLURM_(NPROCS|NTASKS(_PER_\w+)?|CPUS_PER_\w+|GPUS(_PER_\w+)?|TRES_PER_TASK)")
"""Variables by which sbatch's and salloc's options reach srun."""


def srun_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """For an srun in somebody's own allocation: its options alone say which tasks a step has.

    Inside another step, such as `srun --pty bash`, the new one shares what that holds, all memory too.
    """
    kept = {key: value for key, value in environment.items() if not _SHAPE.fullmatch(key)}
    if in_step(environment):
        kept = {key: value for key, value in kept.items() if not key.startswith("SLURM_MEM_PER_")}
        kept |= {"SLURM_OVERLAP": "1", "SLURM_MEM_PER_NODE": "0"}
    return kept


def allocated_nodes() -> list[str]:
    """Names of the allocation's nodes, rank 0's first."""
    return ask(["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]).split()


def node_address(node: str) -> str:
    """What Slurm reaches `node` by, for machines that don't know its name."""
    shown = ask(["scontrol", "--oneliner", "show", "node", node])
    address = fields(shown).get("NodeAddr", node)
    try:
        return str(socket.getaddrinfo(address, None, socket.AF_UNSPEC)[0][4][0])
    except OSError:
        raise UserError(
            f"node {node} can't be reached: neither its name nor Slurm's NodeAddr={address} resolves here;"
            " ask the site for /etc/hosts or DNS entries of the nodes"
        ) from None
