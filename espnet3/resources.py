"""The resources of a stage's job: a new resource is a field here, and a line in conf/resources.yaml.

The metadata of each field is a Resource. It gives the check of its value, the options of sbatch and srun, the
settings of Hydra's launchers, which attempts fit into a warm step, and the value of one job for several
stages.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import eq, le
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.value_checks import (
    AT_LEAST_0,
    AT_LEAST_1,
    COMMAND,
    GIGABYTES,
    LINES,
    MINUTES,
    NAME,
    SBATCH_OPTIONS,
    SETUP,
    Check,
    or_null,
)


@dataclass(frozen=True)
class Resource:
    """Metadata of a resource beside its type and default."""

    doc: str
    """Description with unit: the comment in conf/resources.yaml."""
    check: Check
    """Check of its value."""
    sbatch: str = ""
    """The option of sbatch for it."""
    sbatch_value: Callable[[Any], Any] = lambda value: value
    """Converts its value to that of the option; None leaves the option out."""
    decides: tuple[str, ...] = ()
    """Further options of sbatch that follow from it and are refused in `additional_parameters`."""
    srun: str = ""
    """The option of srun for it, unless the value is 0 or null."""
    fits: Callable[[Any, Any], bool] | None = None
    """Whether a step with the second value has room for tasks with the first; None: always."""
    for_all: Callable[[Sequence[Any]], Any] = lambda values: values[0]
    """Combines the values of several stages into that of one job; the first is the main stage's."""
    decides_ranks: bool = False
    """It decides the number of ranks, and so the result: a site file may not set it."""
    own_tasks_only: bool = False
    """It concerns the tasks that espnet3 starts inside a job: Hydra's own launchers don't get it."""


def resource_metadata(doc: str, check: Check, **further: Any) -> dict[str, Resource]:
    """Metadata of a field of Resources."""
    return {"resource": Resource(doc, check, **further)}


def _same_kind_and_no_more(requested: int, available: int) -> bool:
    return requested <= available and bool(requested) == bool(available)


def _megabytes(gigabytes: float | None) -> str | None:
    return None if gigabytes is None else f"{round(gigabytes * 1024)}M"


def _largest_memory(values: Sequence[float | None]) -> float | None:
    """The largest value; None, the site's default, if the main stage has None."""
    numbers = [value for value in values if value is not None]
    return None if values[0] is None else max(numbers)


@dataclass(frozen=True)
class Resources:
    """The resources of a stage: `resources.<stage>`."""

    nodes: int = field(
        default=1,
        metadata=resource_metadata(
            "machines", AT_LEAST_1, sbatch="nodes", fits=le, for_all=max, decides_ranks=True
        ),
    )
    tasks_per_node: int = field(
        default=1,
        metadata=resource_metadata(
            "processes (ranks) on each: one per GPU, at least one",
            AT_LEAST_1,
            sbatch="ntasks-per-node",
            decides=("ntasks",),
            fits=le,
            decides_ranks=True,
            own_tasks_only=True,
        ),
    )
    cpus_per_task: int = field(
        default=1,
        metadata=resource_metadata(
            "CPU cores of each process",
            AT_LEAST_1,
            sbatch="cpus-per-task",
            srun="cpus-per-task",  # Slurm 22.05 and later don't inherit it from sbatch
            fits=eq,
            own_tasks_only=True,
        ),
    )
    gpus_per_node: int = field(
        default=0,
        metadata=resource_metadata(
            "GPUs on each",
            (
                AT_LEAST_0[0],
                f"{AT_LEAST_0[1]}; a kind of GPU is given by additional_parameters={{gpus-per-node: v100}}",
            ),
            sbatch="gpus-per-node",
            sbatch_value=lambda count: count or None,
            decides=("gpus", "gpus-per-task"),
            srun="gpus-per-node",
            fits=_same_kind_and_no_more,
            for_all=max,
            decides_ranks=True,
        ),
    )
    mem_gb: float | None = field(
        default=None,
        metadata=resource_metadata(
            "memory of each node in GB; null: the site's default",
            GIGABYTES,
            sbatch="mem",
            sbatch_value=_megabytes,
            for_all=_largest_memory,
        ),
    )
    max_mem_gb: float | None = field(
        default=None,
        metadata=resource_metadata(
            "after it ran out of memory a job restarts with 1.5 times as much, at most this; null: with"
            " the same",
            GIGABYTES,
            own_tasks_only=True,
        ),
    )
    spare_nodes: int = field(
        default=0,
        metadata=resource_metadata(
            "machines more, idle until one dies: the job goes on with a spare in its place",
            AT_LEAST_0,
            own_tasks_only=True,
        ),
    )
    min_nodes: int | None = field(
        default=None,
        metadata=resource_metadata(
            "without a spare the job goes on with the machines that are left, and fewer ranks, if they are at"
            " least this many; null: it is queued again",
            or_null(AT_LEAST_1),
            decides_ranks=True,
            own_tasks_only=True,
        ),
    )
    timeout_min: int = field(
        default=1440,
        metadata=resource_metadata(
            "time limit of one attempt in minutes; a training continues after it", MINUTES, sbatch="time"
        ),
    )
    signal_delay_s: int = field(
        default=120,
        metadata=resource_metadata(
            "seconds before the time limit in which the stage saves",
            AT_LEAST_1,
            sbatch="signal",
            sbatch_value="USR2@{}".format,
        ),
    )
    max_restarts: int = field(
        default=3,
        metadata=resource_metadata(
            "attempts in a row that may end without a newer checkpoint; preemption is free",
            AT_LEAST_0,
            decides=("requeue", "no-requeue"),
            own_tasks_only=True,
        ),
    )
    partition: str | None = field(
        default=None,
        metadata=resource_metadata("as in sbatch; null: the site's default", NAME, sbatch="partition"),
    )
    account: str | None = field(
        default=None, metadata=resource_metadata("who is charged, as in sbatch", NAME, sbatch="account")
    )
    qos: str | None = field(
        default=None, metadata=resource_metadata("quality of service, as in sbatch", NAME, sbatch="qos")
    )
    constraint: str | None = field(
        default=None,
        metadata=resource_metadata(
            "features that its nodes must have, as in sbatch", NAME, sbatch="constraint"
        ),
    )
    setup: tuple[str, ...] = field(
        default=(),
        metadata=resource_metadata('lines of shell before the stage starts: ["module load cuda"]', SETUP),
    )
    python: str | None = field(
        default=None,
        metadata=resource_metadata(
            "command that runs Python in the tasks, such as apptainer exec --nv image.sif"
            " python; null: the Python of the command itself",
            COMMAND,
            fits=eq,
            own_tasks_only=True,
        ),
    )
    srun_args: tuple[str, ...] = field(
        default=(),
        metadata=resource_metadata(
            "further options of the srun that starts the tasks: [--cpu-bind=cores]",
            LINES,
            fits=eq,
            own_tasks_only=True,
        ),
    )
    additional_parameters: dict[str, Any] = field(
        default_factory=dict,
        metadata=resource_metadata(
            'any further option of sbatch: {reservation: name, exclude: "node[1-2]"}', SBATCH_OPTIONS
        ),
    )

    @classmethod
    def of(cls, config: DictConfig, stage: str) -> "Resources":
        """The resources of `stage`; keys that the configuration lacks have their defaults."""
        config_values: Any = OmegaConf.to_container(config.resources[stage], resolve=True)
        values = {item.name: config_values[item.name] for item in fields(cls) if item.name in config_values}
        for name in ("setup", "srun_args"):
            values[name] = tuple(map(str, values.get(name) or ()))
        values["additional_parameters"] = dict(values.get("additional_parameters") or {})
        return cls(**values)

    def of_one_process(self) -> "Resources":
        """As these, for a job that starts no tasks: one small process, on one node, for the same account."""
        own = [name for name, resource in resources_of(type(self)).items() if resource.own_tasks_only]
        defaults = {name: getattr(type(self)(), name) for name in (*own, "nodes", "gpus_per_node", "mem_gb")}
        return replace(self, **defaults, signal_delay_s=type(self).signal_delay_s)

    @property
    def outlives_nodes(self) -> bool:
        """Whether a job goes on after one of its nodes has died."""
        return self.spare_nodes > 0 or (self.min_nodes is not None and self.min_nodes < self.nodes)

    def sbatch_options(self) -> dict[str, Any]:
        """Options of sbatch with their values, by sbatch's names; without `additional_parameters`."""
        options = {
            resource.sbatch: resource.sbatch_value(getattr(self, name))
            for name, resource in resources_of(type(self)).items()
            if resource.sbatch
        }
        options["nodes"] = self.nodes + self.spare_nodes
        if self.outlives_nodes:
            options["no-kill"] = True
        return {option: value for option, value in options.items() if value is not None}

    def srun_options(self) -> dict[str, Any]:
        """Options of srun with their values, except numbers of nodes and tasks."""
        options = {
            resource.srun: getattr(self, name)
            for name, resource in resources_of(type(self)).items()
            if resource.srun
        }
        return {option: value for option, value in options.items() if value}

    def fits_into(self, step: "Resources") -> bool:
        """Whether ranks of the running `step` are equivalent to a new step with these resources."""
        return all(
            resource.fits is None or resource.fits(getattr(self, name), getattr(step, name))
            for name, resource in resources_of(type(self)).items()
        )

    def for_all(self, others: Sequence["Resources"]) -> "Resources":
        """Resources of one job that runs the main stage (self) and stages with `others`.

        The job has the tasks of the main stage, with more CPUs each if another stage needs them.
        """
        stages = [self, *others]
        values = {
            name: resource.for_all([getattr(stage, name) for stage in stages])
            for name, resource in resources_of(type(self)).items()
        }
        cpus = max(stage.tasks_per_node * stage.cpus_per_task for stage in stages)
        return replace(self, **values | {"cpus_per_task": math.ceil(cpus / self.tasks_per_node)})


def resources_of(kind: type[Resources]) -> dict[str, Resource]:
    """Name of each field -> its metadata."""
    return {item.name: item.metadata["resource"] for item in fields(kind)}


RESOURCES = resources_of(Resources)
"""Every resource by its name."""
