"""What a stage's job asks for: a new resource is a field here, and a line in conf/resources.yaml.

What else is known of a field stands beside it, as a Resource. From that follow the check of its value, the
options of sbatch and srun, what Hydra's launchers are given, which attempts fit into a warm step, and what
one job has for several stages.
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
    NAME,
    SBATCH_OPTIONS,
    SETUP,
    Check,
)


@dataclass(frozen=True)
class Resource:
    """What is known of a resource besides its type and default."""

    doc: str
    """What it is, with its unit: the comment in conf/resources.yaml."""
    check: Check
    """What its value may be."""
    sbatch: str = ""
    """The option of sbatch that has its value."""
    sbatch_value: Callable[[Any], Any] = lambda value: value
    """From its value to the option's; None: the option is left out."""
    decides: tuple[str, ...] = ()
    """Further options of sbatch that follow from it, and so may not be given besides."""
    srun: str = ""
    """The option of srun that has its value, where it is not 0 or null."""
    fits: Callable[[Any, Any], bool] | None = None
    """Whether tasks that ask for the first value fit into a step that has the second; None: they do."""
    for_all: Callable[[Sequence[Any]], Any] = lambda values: values[0]
    """What one job has for several stages, of which the first is the main one."""
    decides_ranks: bool = False
    """It decides the number of ranks, and so the result: no site may set it."""
    own_tasks_only: bool = False
    """It is about the tasks that espnet3 starts inside a job: Hydra's own launchers are not given it."""


def known(doc: str, check: Check, **further: Any) -> dict[str, Resource]:
    """The metadata of a field of Resources: what Resource says of it."""
    return {"resource": Resource(doc, check, **further)}


def _same_kind_and_no_more(asked: int, there: int) -> bool:
    return asked <= there and bool(asked) == bool(there)


def _megabytes(gigabytes: float | None) -> str | None:
    return None if gigabytes is None else f"{round(gigabytes * 1024)}M"


def _largest_memory(values: Sequence[float | None]) -> float | None:
    """Null, the site's default, stays where the main stage asks for it."""
    given = [value for value in values if value is not None]
    return None if values[0] is None else max(given)


@dataclass(frozen=True)
class Resources:
    """What a stage asks for: `resources.<stage>`."""

    nodes: int = field(
        default=1,
        metadata=known("machines", AT_LEAST_1, sbatch="nodes", fits=le, for_all=max, decides_ranks=True),
    )
    tasks_per_node: int = field(
        default=1,
        metadata=known(
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
        metadata=known(
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
        metadata=known(
            "GPUs on each",
            AT_LEAST_0,
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
        metadata=known(
            "memory of each node in GB; null: the site's default",
            GIGABYTES,
            sbatch="mem",
            sbatch_value=_megabytes,
            for_all=_largest_memory,
        ),
    )
    timeout_min: int = field(
        default=1440,
        metadata=known(
            "time limit of one attempt in minutes; a training continues after it", AT_LEAST_1, sbatch="time"
        ),
    )
    signal_delay_s: int = field(
        default=120,
        metadata=known(
            "seconds before the time limit in which the stage saves",
            AT_LEAST_1,
            sbatch="signal",
            sbatch_value="USR2@{}".format,
        ),
    )
    max_restarts: int = field(
        default=3,
        metadata=known(
            "attempts in a row that may end without a newer checkpoint; preemption is free",
            AT_LEAST_0,
            decides=("requeue", "no-requeue"),
            own_tasks_only=True,
        ),
    )
    partition: str | None = field(
        default=None, metadata=known("as in sbatch; null: the site's default", NAME, sbatch="partition")
    )
    account: str | None = field(
        default=None, metadata=known("who is charged, as in sbatch", NAME, sbatch="account")
    )
    qos: str | None = field(
        default=None, metadata=known("quality of service, as in sbatch", NAME, sbatch="qos")
    )
    constraint: str | None = field(
        default=None,
        metadata=known("features that its nodes must have, as in sbatch", NAME, sbatch="constraint"),
    )
    setup: tuple[str, ...] = field(
        default=(), metadata=known('lines of shell before the stage starts: ["module load cuda"]', SETUP)
    )
    python: str | None = field(
        default=None,
        metadata=known(
            "command that runs Python in the tasks, such as apptainer exec --nv image.sif"
            " python; null: the Python of the command itself",
            COMMAND,
            fits=eq,
            own_tasks_only=True,
        ),
    )
    srun_args: tuple[str, ...] = field(
        default=(),
        metadata=known(
            "further options of the srun that starts the tasks: [--cpu-bind=cores]",
            LINES,
            fits=eq,
            own_tasks_only=True,
        ),
    )
    additional_parameters: dict[str, Any] = field(
        default_factory=dict,
        metadata=known(
            'any further option of sbatch: {reservation: name, exclude: "node[1-2]"}', SBATCH_OPTIONS
        ),
    )

    @classmethod
    def of(cls, config: DictConfig, stage: str) -> "Resources":
        """Those of `stage`; keys that a test's small configuration leaves out have their defaults."""
        given: Any = OmegaConf.to_container(config.resources[stage], resolve=True)
        values = {item.name: given[item.name] for item in fields(cls) if item.name in given}
        for name in ("setup", "srun_args"):
            values[name] = tuple(map(str, values.get(name) or ()))
        values["additional_parameters"] = dict(values.get("additional_parameters") or {})
        return cls(**values)

    def sbatch_options(self) -> dict[str, Any]:
        """Options of sbatch that have their values, as sbatch spells them; not `additional_parameters`."""
        options = {
            one.sbatch: one.sbatch_value(getattr(self, name))
            for name, one in resources_of(type(self)).items()
            if one.sbatch
        }
        return {option: value for option, value in options.items() if value is not None}

    def srun_options(self) -> dict[str, Any]:
        """Those of srun but the numbers of nodes and tasks."""
        options = {
            one.srun: getattr(self, name) for name, one in resources_of(type(self)).items() if one.srun
        }
        return {option: value for option, value in options.items() if value}

    def fits_into(self, step: "Resources") -> bool:
        """Whether some of the ranks of `step` are what a step of its own, that asks so, would have."""
        return all(
            one.fits is None or one.fits(getattr(self, name), getattr(step, name))
            for name, one in resources_of(type(self)).items()
        )

    def for_all(self, asked: Sequence["Resources"]) -> "Resources":
        """What one job must have for every stage that asks for one of `asked`; this is the main one's.

        It has the main one's tasks: where another has more or larger ones, each gets more CPUs.
        """
        stages = [self, *asked]
        values = {
            name: one.for_all([getattr(stage, name) for stage in stages])
            for name, one in resources_of(type(self)).items()
        }
        cpus = max(stage.tasks_per_node * stage.cpus_per_task for stage in stages)
        return replace(self, **values | {"cpus_per_task": math.ceil(cpus / self.tasks_per_node)})


def resources_of(kind: type[Resources]) -> dict[str, Resource]:
    """Name of each field -> what is known of it."""
    return {item.name: item.metadata["resource"] for item in fields(kind)}


RESOURCES = resources_of(Resources)
"""Every resource by its name."""
