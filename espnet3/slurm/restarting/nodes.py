"""The nodes that this job has now, which of them answer, and which of them an attempt uses."""

import os
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from espnet3.errors import UserError
from espnet3.slurm.command import ask
from espnet3.slurm.scontrol import fields
from espnet3.slurm.step import allocated_nodes

_CONNECTS_WITHIN_S = 3.0
_TRIES = 2
_AT_ONCE = 64


def own_nodes(job_id: str) -> list[str]:
    """Names of the nodes that the job has now, this one first; Slurm takes dead ones out (`--no-kill`)."""
    try:
        shown = fields(ask(["scontrol", "--oneliner", "show", "job", job_id]))
        return ask(["scontrol", "show", "hostnames", shown["NodeList"]]).split()
    except (UserError, KeyError):
        return allocated_nodes()


def answering(nodes: Sequence[str]) -> list[str]:
    """Those of `nodes` whose slurmd takes connections, as srun needs it, long before Slurm calls one down.

    All of them if Slurm does not say where they listen.
    """
    if not nodes:
        return []
    try:
        lines = ask(["scontrol", "--oneliner", "show", "node", ",".join(nodes)]).splitlines()
    except UserError:
        return list(nodes)
    shown = {one.get("NodeName", ""): one for one in map(fields, lines)}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        alive = list(pool.map(lambda node: _answers(shown.get(node, {})), nodes))
    return [node for node, is_alive in zip(nodes, alive, strict=True) if is_alive]


def order_of_use(alive: Sequence[str], needed: int, blamed: Mapping[str, int]) -> list[str]:
    """The nodes of a job in the order of their use: `needed` for the ranks, then the spares.

    The first, on which this process is, stays; of the others those with the fewest ends of attempts in
    `blamed` are used.
    """
    first, *others = alive
    chosen = sorted(others, key=lambda node: blamed.get(node, 0))[: needed - 1]
    used = [first, *(node for node in others if node in chosen)]
    return [*used, *(node for node in others if node not in chosen)]


def share_with_lost_steps(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have the sruns of this process share CPUs, memory and GPUs with steps that end late, by a dead node.

    Until Slurm calls the node down, and in some versions beyond, such a step holds what it had elsewhere.
    """
    for name in [name for name in environment if name.startswith("SLURM_MEM_PER_")]:
        del environment[name]
    environment.update(SLURM_OVERLAP="1", SLURM_MEM_PER_NODE="0")


def _answers(shown: Mapping[str, str]) -> bool:
    address, port = shown.get("NodeAddr", ""), shown.get("Port", "6818")
    if not address or not port.isdigit():
        return True
    for _ in range(_TRIES):
        try:
            socket.create_connection((address, int(port)), timeout=_CONNECTS_WITHIN_S).close()
            return True
        except socket.gaierror:
            return True  # only Slurm's commands know where it is
        except OSError:
            continue
    return False
