"""Whether an attempt ran out of memory, and how much its job asks for next; pure functions."""

import re

from espnet3.rundir.records.attempt import AttemptResult
from espnet3.slurm.restarting.job_change import Memory

GROWTH = 1.5
OUT_OF_MEMORY = re.compile(r"oom[-_]kill|\bout[- ]of[- ]memory\b|exceeded memory limit", re.IGNORECASE)
"""How Slurm, or a rank about its control group, says that the memory of a node's tasks was used up."""


def ran_out_of_memory(result: AttemptResult) -> bool:
    """Whether the attempt was ended because it used more memory than its job has.

    An exception, such as that of a GPU's memory, is the program's own.
    """
    return result.outcome == "killed" and OUT_OF_MEMORY.search(result.reason) is not None


def more_memory(
    result: AttemptResult, requested: Memory | None, max_mem_gb: float | None, cpus_per_node: int
) -> Memory | None:
    """What the job asks for after `result`: GROWTH times as much, at most `max_mem_gb`; None: no more.

    Args:
        result: of the attempt.
        requested: what the job has; None: whole nodes.
        max_mem_gb: the limit on a node's memory; None: it does not grow.
        cpus_per_node: of the job.
    """
    if max_mem_gb is None or requested is None or not ran_out_of_memory(result):
        return None
    most = max_mem_gb * 1024 / (cpus_per_node if requested.per_cpu else 1)
    mb = int(min(requested.mb * GROWTH, most))
    return Memory(mb, requested.per_cpu) if mb > requested.mb else None
