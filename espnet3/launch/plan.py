"""From configuration and stages to a list of plain job descriptions; no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from espnet3.errors import UserError
from espnet3.stages import STAGES, label

MULTI_TASK_STAGES = ("train",)
"""Stages that run as several ranks; the others are one task."""


@dataclass(frozen=True)
class Job:
    """One job: a stage and what it asks for."""

    stage: str
    launcher: str
    nodes: int
    tasks_per_node: int
    gpus_per_node: int
    cpus_per_task: int
    directory: str
    """The directory the stage fills."""

    @property
    def world_size(self) -> int:
        """Tasks (ranks) on all nodes together."""
        return self.nodes * self.tasks_per_node

    def __str__(self) -> str:
        gpus = f" and {self.gpus_per_node} GPUs" if self.gpus_per_node else ""
        size = f"{self.nodes} x {self.tasks_per_node} tasks{gpus}, {self.cpus_per_task} CPUs each"
        return f"{label(self.stage)}: launcher={self.launcher}, {size}"


def stage_range(first: str | None, last: str | None) -> list[str]:
    """The stages from `first` to `last`, both by number or name and both included; None is the end.

    Raises:
        UserError: for a stage that does not exist, or a range that is empty.
    """
    start = 0 if first is None else _stage_number(first, "--stage")
    stop = len(STAGES) - 1 if last is None else _stage_number(last, "--stop-stage")
    if stop < start:
        raise UserError(f"--stop-stage {last} lies before --stage {first}: no stage is left to run")
    return list(STAGES[start : stop + 1])


def plan(config: DictConfig, stages: Sequence[str]) -> list[Job]:
    """One job per stage, in order.

    Raises:
        UserError: when resources and launcher contradict each other.
    """
    jobs = []
    for stage in stages:
        resources = config.resources[stage]
        job = Job(
            stage=stage,
            launcher=config.launcher.name,
            nodes=resources.nodes,
            tasks_per_node=resources.tasks_per_node,
            gpus_per_node=resources.gpus_per_node,
            cpus_per_task=resources.cpus_per_task,
            directory=str(
                config[{"prepare": "data_dir", "collect_stats": "stats_dir"}.get(stage, "exp_dir")]
            ),
        )
        _check(job)
        jobs.append(job)
    return jobs


def _check(job: Job) -> None:
    where = f"resources.{job.stage}"
    if job.nodes > 1:
        raise UserError(f"{where}.nodes={job.nodes}: launcher={job.launcher} has one node, this machine")
    if job.world_size > 1 and job.stage not in MULTI_TASK_STAGES:
        raise UserError(f"{where}.tasks_per_node={job.tasks_per_node}: {label(job.stage)} is one task")
    if job.world_size > 1 and job.launcher == "debug":
        raise UserError(f"{where}.tasks_per_node={job.tasks_per_node}: launcher=debug runs one task")


def _stage_number(text: str, flag: str) -> int:
    known = ", ".join(f"{number} {name}" for number, name in enumerate(STAGES))
    if text in STAGES:
        return STAGES.index(text)
    if text.isdigit() and int(text) < len(STAGES):
        return int(text)
    raise UserError(f"{flag} {text}: there is no such stage; known are {known}")
