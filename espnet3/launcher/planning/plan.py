"""From configuration and stages to a list of plain job descriptions; no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from espnet3.errors import UserError
from espnet3.resources import Resources
from espnet3.slurm.allocation import Allocation
from espnet3.stage_table import STAGES, Stage, label, numbered

ONE_MACHINE = ("local", "debug")
"""Launchers whose jobs stay on this machine."""


@dataclass(frozen=True)
class Job:
    """One job: a stage and what it asks for."""

    stage: str
    launcher: str
    resources: Resources
    directory: str
    """The directory the stage fills."""

    @property
    def world_size(self) -> int:
        """Tasks (ranks) on all nodes together."""
        return self.resources.nodes * self.resources.tasks_per_node

    def __str__(self) -> str:
        asked = self.resources
        gpus = f" and {asked.gpus_per_node} GPUs" if asked.gpus_per_node else ""
        size = f"{asked.nodes} x {asked.tasks_per_node} tasks{gpus}, {asked.cpus_per_task} CPUs each"
        return f"{label(self.stage)}: launcher={self.launcher}, {size}"


def stage_range(first: str | None, last: str | None) -> list[str]:
    """The stages from `first` to `last`, both by number or name and both included; None is the end.

    Raises:
        UserError: for a stage that does not exist, or a range that is empty.
    """
    numbers = [stage.number for stage in STAGES.values()]
    start = min(numbers) if first is None else find_stage(first, "--stage").number
    stop = max(numbers) if last is None else find_stage(last, "--stop-stage").number
    if stop < start:
        raise UserError(f"--stop-stage {last} lies before --stage {first}: no stage is left to run")
    return [name for name, stage in STAGES.items() if start <= stage.number <= stop]


def plan(config: DictConfig, stages: Sequence[str], allocation: Allocation | None = None) -> list[Job]:
    """One job per stage, in order.

    Args:
        config: the resolved configuration.
        stages: which.
        allocation: the one this process is in.

    Raises:
        UserError: when resources and launcher contradict each other.
    """
    jobs = []
    for stage in stages:
        job = Job(
            stage=stage,
            launcher=str(config.resources[stage].get("launcher") or config.launcher.name),
            resources=Resources.of(config, stage),
            directory=str(config[STAGES[stage].directory]),
        )
        _check(job)
        if job.launcher == "allocation":
            _check_fits(job, allocation)
        if STAGES[stage].trains:
            _check_trainer(config, job)
        jobs.append(job)
    return jobs


def main_job(jobs: Sequence[Job]) -> Job:
    """Of stages that run in one job, the one that it is about: its time limit and restarts are the job's."""
    return next((job for job in jobs if STAGES[job.stage].trains), jobs[-1])


def on_slurm(job: Job) -> bool:
    """Whether the job is submitted."""
    return job.launcher == "slurm"


def _check(job: Job) -> None:
    where, asked = f"resources.{job.stage}", job.resources
    if asked.nodes > 1 and job.launcher in ONE_MACHINE:
        raise UserError(f"{where}.nodes={asked.nodes}: launcher={job.launcher} has one node, this machine")
    if job.world_size > 1 and not STAGES[job.stage].many_tasks:
        key = "nodes" if asked.nodes > 1 else "tasks_per_node"
        raise UserError(f"{where}.{key}={getattr(asked, key)}: {label(job.stage)} is one task")
    if job.world_size > 1 and job.launcher == "debug":
        raise UserError(f"{where}.tasks_per_node={asked.tasks_per_node}: launcher=debug runs one task")
    if asked.signal_delay_s >= 60 * asked.timeout_min and on_slurm(job):
        raise UserError(
            f"{where}.signal_delay_s={asked.signal_delay_s}: must be less than the time limit,"
            f" {where}.timeout_min={asked.timeout_min} ({60 * asked.timeout_min} s)"
        )


def _check_fits(job: Job, allocation: Allocation | None) -> None:
    """A stage can't have more than the allocation that it runs in has."""
    where, asked = f"resources.{job.stage}", job.resources
    if allocation is None:
        raise UserError(
            f"{label(job.stage)}: launcher=allocation, but this is no Slurm allocation: start run.sh by"
            " sbatch or salloc, or give launcher=slurm"
        )
    if allocation.tasks_of_this_step > 1:
        raise UserError(
            f"run.sh was started by srun as {allocation.tasks_of_this_step} tasks, each of which would run"
            " all stages: leave srun out, run.sh starts the tasks itself"
        )
    there = f"the allocation (Slurm job {allocation.job_id}) has"
    if asked.nodes > allocation.nodes:
        raise UserError(f"{where}.nodes={asked.nodes}: {there} {allocation.nodes}")
    for name in ("gpus_per_node", "tasks_per_node"):
        has = getattr(allocation, name)
        if has is not None and getattr(asked, name) > has:
            raise UserError(f"{where}.{name}={getattr(asked, name)}: {there} {has} on each node")
    cpus = asked.tasks_per_node * asked.cpus_per_task
    if cpus > allocation.cpus_per_node:
        raise UserError(
            f"{where}.tasks_per_node={asked.tasks_per_node} with cpus_per_task={asked.cpus_per_task} takes"
            f" {cpus} CPUs on each node: {there} {allocation.cpus_per_node}"
        )


def _check_trainer(config: DictConfig, job: Job) -> None:
    """Nobody writes a number twice: what the Trainer is told must be what is asked for."""
    trainer = config.get("trainer") or {}
    for key, resource in (("num_nodes", "nodes"), ("devices", "tasks_per_node")):
        given, asked = trainer.get(key), getattr(job.resources, resource)
        if given not in (None, "auto", asked):
            raise UserError(
                f"trainer.{key}={given} contradicts resources.{job.stage}.{resource}={asked}, from which it"
                f" follows: leave trainer.{key} out"
            )


def find_stage(text: str, flag: str) -> Stage:
    """The stage that `text` calls by number or name.

    Raises:
        UserError: naming the `flag` that it was given for, and the stages there are.
    """
    for stage in STAGES.values():
        if text == stage.name or (text.isdigit() and int(text) == stage.number):
            return stage
    raise UserError(f"{flag} {text}: there is no such stage; known are {numbered()}")
