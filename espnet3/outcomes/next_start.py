"""With which request a job starts again: more memory, without lemons; a pure function."""

from collections.abc import Sequence
from dataclasses import dataclass

from espnet3.outcomes.lemons import left_out, lemons
from espnet3.outcomes.memory import more_memory
from espnet3.resources import Resources
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.slurm.restarting.job_change import NO_CHANGE, JobChange, JobRequested


@dataclass(frozen=True)
class NextStart:
    """What a job asks for when Slurm starts it again."""

    change: JobChange = NO_CHANGE
    leaves: str = ""
    """Why it can't go on with what it has; empty if it can."""


def next_start(
    result: AttemptResult,
    earlier: Sequence[AttemptResult],
    resources: Resources,
    requested: JobRequested,
    *,
    partition_nodes: int,
    in_use: Sequence[str],
    in_vain: bool,
    replaceable: int = 0,
    excluded: str = "",
    now: float,
) -> NextStart:
    """What a job asks for after `result`.

    Args:
        result: of its last attempt.
        earlier: results of earlier attempts of the run, or of all trials of its sweep.
        resources: of the job.
        requested: what it has asked for.
        partition_nodes: how many nodes its partition has; 0: unknown.
        in_use: the nodes of the last attempt, rank 0's first, on which the batch process is.
        in_vain: whether that attempt left no newer checkpoint; one that got further keeps its nodes.
        replaceable: how many of these, but the first, can be replaced without a new start of the job.
        excluded: nodes that the user leaves out.
        now: in seconds since the epoch.
    """
    leaves = []
    cpus = resources.tasks_per_node * resources.cpus_per_task
    memory = more_memory(result, requested.memory, resources.max_mem_gb, cpus)
    if memory is not None:
        leaves.append(f"asks for {memory} of memory instead of {requested.memory}")
    elif resources.max_mem_gb is not None:
        memory = requested.memory  # a job that follows it has the script of the first
    every = [*earlier, result]
    needed = resources.nodes + resources.spare_nodes
    out = left_out(lemons(every, now), partition_nodes=partition_nodes, needed=needed)
    if requested.required:  # without one of these it would never start
        out = []
    names = [lemon.node for lemon in out]
    here = [lemon for lemon in out if lemon.node in in_use]
    if in_vain and here and (len(here) > replaceable or in_use[0] in names):
        leaves.append(f"leaves out {'; '.join(map(str, here))}")
    exclude = ",".join(filter(None, [excluded, *names])) if names else None
    if exclude is None and requested.exclude and lemons(every, now=0.0):
        exclude = excluded  # those of more than a day ago are forgotten
    return NextStart(JobChange(memory, exclude), "; ".join(leaves))
