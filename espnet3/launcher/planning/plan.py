"""From configuration and stages to a list of plain job descriptions; no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from espnet3.errors import UserError, nearest
from espnet3.number_text import counted
from espnet3.resources import Resources
from espnet3.slurm.allocation import Allocation
from espnet3.stage_table import NOT_GIVEN, STAGES, Stage, label, numbered

ONE_MACHINE = ("local", "debug")
"""Launchers whose jobs run on this machine."""


@dataclass(frozen=True)
class Job:
    """One job: a stage and its resources."""

    stage: str
    launcher: str
    resources: Resources
    directory: str
    """The directory the stage fills."""
    module: str = "espnet3.launcher.batch.run_job"
    """The Python module of the batch process, if it is submitted."""

    @property
    def world_size(self) -> int:
        """Tasks (ranks) on all nodes together."""
        return self.resources.nodes * self.resources.tasks_per_node

    def __str__(self) -> str:
        resources = self.resources
        gpus = f" and {counted(resources.gpus_per_node, 'GPU')}" if resources.gpus_per_node else ""
        tasks, cpus = counted(resources.tasks_per_node, "task"), counted(resources.cpus_per_task, "CPU")
        spares = f", and {counted(resources.spare_nodes, 'spare node')}" if resources.spare_nodes else ""
        size = f"{resources.nodes} x {tasks}{gpus}, {cpus} each{spares if on_slurm(self) else ''}"
        return f"{label(self.stage)}: launcher={self.launcher}, {size}"


def stage_range(first: str | None, last: str | None) -> list[str]:
    """The stages from `first` to `last`, both inclusive, by number or name; None: the first or last stage.

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
        stages: names of stages.
        allocation: the Slurm allocation of this process, if any.

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
        _check_needs(config, stage)
        _check(job)
        if job.launcher == "allocation":
            _check_fits(job, allocation)
        if STAGES[stage].trains:
            _check_trainer(config, job)
        jobs.append(job)
    return jobs


def main_job(jobs: Sequence[Job]) -> Job:
    """Of stages that share one Slurm job, the one whose time limit and restarts the job has."""
    return next((job for job in jobs if STAGES[job.stage].trains), jobs[-1])


def on_slurm(job: Job) -> bool:
    """Whether the job is submitted."""
    return job.launcher == "slurm"


def _check_needs(config: DictConfig, stage: str) -> None:
    """Check that what the stage can't run without is given."""
    for need in STAGES[stage].needs:
        keys = need.split("|")
        if all(OmegaConf.select(config, key) in (None, NOT_GIVEN.get(key)) for key in keys):
            raise UserError(f"{label(stage)} needs {' or '.join(keys)}, and the configuration has none")


def _check(job: Job) -> None:
    where, resources = f"resources.{job.stage}", job.resources
    if resources.nodes > 1 and job.launcher in ONE_MACHINE:
        raise UserError(
            f"{where}.nodes={resources.nodes}: launcher={job.launcher} has one node, this machine"
        )
    if job.world_size > 1 and not STAGES[job.stage].many_tasks:
        key = "nodes" if resources.nodes > 1 else "tasks_per_node"
        raise UserError(f"{where}.{key}={getattr(resources, key)}: {label(job.stage)} is one task")
    if job.world_size > 1 and job.launcher == "debug":
        raise UserError(f"{where}.tasks_per_node={resources.tasks_per_node}: launcher=debug runs one task")
    if resources.min_nodes is not None and resources.min_nodes > resources.nodes:
        raise UserError(
            f"{where}.min_nodes={resources.min_nodes}: is more than {where}.nodes={resources.nodes}"
        )
    if resources.max_mem_gb is not None and resources.max_mem_gb < (resources.mem_gb or 0):
        raise UserError(
            f"{where}.max_mem_gb={resources.max_mem_gb}: is less than {where}.mem_gb={resources.mem_gb}"
        )
    if resources.signal_delay_s >= 60 * resources.timeout_min and on_slurm(job):
        raise UserError(
            f"{where}.signal_delay_s={resources.signal_delay_s}: must be less than the time limit,"
            f" {where}.timeout_min={resources.timeout_min} ({60 * resources.timeout_min} s)"
        )


def _check_fits(job: Job, allocation: Allocation | None) -> None:
    """Check that the resources of a stage fit into its allocation."""
    where, resources = f"resources.{job.stage}", job.resources
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
    if resources.nodes > allocation.nodes:
        raise UserError(f"{where}.nodes={resources.nodes}: {there} {allocation.nodes}")
    for name in ("gpus_per_node", "tasks_per_node"):
        has = getattr(allocation, name)
        if has is not None and getattr(resources, name) > has:
            raise UserError(f"{where}.{name}={getattr(resources, name)}: {there} {has} on each node")
    cpus = resources.tasks_per_node * resources.cpus_per_task
    if cpus > allocation.cpus_per_node:
        raise UserError(
            f"{where}.tasks_per_node={resources.tasks_per_node} with cpus_per_task={resources.cpus_per_task}"
            f" takes {cpus} CPUs on each node: {there} {allocation.cpus_per_node}"
        )


def _check_trainer(config: DictConfig, job: Job) -> None:
    """Check that the Trainer's nodes and devices, if given, agree with the resources."""
    trainer = config.get("trainer") or {}
    for key, resource in (("num_nodes", "nodes"), ("devices", "tasks_per_node")):
        in_trainer, in_resources = trainer.get(key), getattr(job.resources, resource)
        if in_trainer not in (None, "auto", in_resources):
            raise UserError(
                f"trainer.{key}={in_trainer} contradicts resources.{job.stage}.{resource}={in_resources},"
                f" from which it follows: leave trainer.{key} out"
            )


def find_stage(text: str, flag: str) -> Stage:
    """The stage with the number or name `text`.

    Raises:
        UserError: no such stage; names the command-line option `flag` and the known stages.
    """
    number = text.lstrip("0") or text[-1:]  # as text: Python converts no number of thousands of digits
    for stage in STAGES.values():
        if text == stage.name or number == str(stage.number):
            return stage
    guess = nearest(text, STAGES)
    hint = f"did you mean {STAGES[guess].number} {guess}?" if guess else f"known are {numbered()}"
    raise UserError(f"{flag} {text or repr(text)}: there is no such stage; {hint}")
