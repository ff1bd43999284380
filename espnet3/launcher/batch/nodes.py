"""The nodes of a job that outlives them, and with which request it starts again."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from espnet3.errors import UserError
from espnet3.launcher.planning.plan import Job
from espnet3.number_text import counted
from espnet3.outcomes.lemons import blames
from espnet3.outcomes.next_start import NextStart, next_start
from espnet3.resources import Resources
from espnet3.rundir.records.attempt import Attempt, AttemptResult, read_attempts
from espnet3.slurm.own_job import own_slurm_job, own_slurm_job_id, requested
from espnet3.slurm.restarting.nodes import answering, order_of_use, own_nodes, share_with_lost_steps
from espnet3.slurm.sbatch_options import sbatch_spelling
from espnet3.slurm.site.partitions import eligible_partitions, read_partitions
from espnet3.slurm.step import allocated_nodes


@dataclass(frozen=True)
class FoundNodes:
    """The nodes of the next attempt."""

    nodes: list[str] = field(default_factory=list)
    """This one first, spares last; empty: too few are left."""
    lost: str = ""
    """What became of nodes that have died; empty if none has."""


def find_nodes(job: Job, exp_dir: Path) -> FoundNodes:
    """The nodes that the next attempt of `job` uses, and what became of dead ones.

    They are asked only after an attempt: before, Slurm has just handed them out, and one that does not
    answer for another reason must not end the job.
    """
    attempts, began_with = read_attempts(exp_dir), allocated_nodes()
    alive = own_nodes(own_slurm_job_id())
    if any(attempt.launcher.slurm_job == own_slurm_job() for attempt in attempts):
        alive = answering(alive)
    if len(alive) < len(began_with):
        share_with_lost_steps()
    results = [attempt.result for attempt in attempts]
    blamed = {node: len(ends) for node, ends in blames(results, time.time()).items()}
    return choose_nodes(job.resources, began_with, alive, blamed)


def choose_nodes(
    resources: Resources, began_with: list[str], alive: list[str], blamed: dict[str, int]
) -> FoundNodes:
    """The nodes of the next attempt.

    Args:
        resources: of its stage.
        began_with: the job's nodes when it started.
        alive: those that answer, this one first.
        blamed: node -> number of attempts that it has ended.
    """
    dead = [node for node in began_with if node not in alive]
    lost = f"{', '.join(dead)} {'do' if len(dead) > 1 else 'does'} not answer" if dead else ""
    needed, fewest = resources.nodes, resources.min_nodes or resources.nodes
    if len(alive) < min(fewest, needed):
        return FoundNodes([], f"{lost}, and no spare is left")
    if lost and len(alive) >= needed:
        lost += f": goes on with {counted(needed, 'node')}, {counted(len(alive) - needed, 'spare')} left"
    elif lost:
        lost += f", and no spare is left: goes on with {counted(len(alive), 'node')} instead of {needed}"
    return FoundNodes(order_of_use(alive, needed, blamed), lost)


def with_nodes(config: DictConfig, job: Job, count: int) -> DictConfig:
    """`config` with at most so many nodes for the stage of `job`, and its Trainer: see `min_nodes`."""
    if count >= job.resources.nodes:
        return config
    OmegaConf.update(config, f"resources.{job.stage}.nodes", count)
    if OmegaConf.select(config, "trainer.num_nodes") not in (None, "auto"):
        OmegaConf.update(config, "trainer.num_nodes", count)
    return config


def read_next_start(
    resources: Resources, result: AttemptResult, last: Attempt, exp_dirs: Iterable[Path], *, in_vain: bool
) -> NextStart:
    """With which request the job starts again after `result`, that of its `last` attempt.

    Args:
        resources: of the job.
        result: of its last attempt.
        last: this attempt.
        exp_dirs: its run directory, and those of the other trials of a sweep.
        in_vain: whether that attempt left no newer checkpoint.
    """
    every = [attempt for exp_dir in exp_dirs for attempt in read_attempts(exp_dir)]
    earlier = [attempt.result for attempt in every if attempt.result and attempt.directory != last.directory]
    if resources.max_mem_gb is None and not any(one.node for one in (*earlier, result)):
        return NextStart()
    try:
        asked = requested(own_slurm_job_id())
        partitions = eligible_partitions(read_partitions(), asked.partition)
    except UserError:
        return NextStart()  # as it was: Slurm does not answer
    left = len(own_nodes(own_slurm_job_id())) - resources.nodes if resources.outlives_nodes else 0
    return next_start(
        result,
        earlier,
        resources,
        asked,
        partition_nodes=max((partition.nodes for partition in partitions), default=0),
        in_use=last.begin.nodes,
        in_vain=in_vain,
        replaceable=left,
        excluded=str(sbatch_spelling(resources.additional_parameters).get("exclude") or ""),
        now=time.time(),
    )
