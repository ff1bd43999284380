"""Overrides that we add to Hydra's command line: paths, and the resources of its launchers."""

from collections.abc import Sequence
from typing import Any

from espnet3.config.compose import Recipe

_TRAIN_FIELD = "${resources.train.%s}"
_SHARED_FIELDS = (
    *("nodes", "gpus_per_node", "mem_gb", "timeout_min", "signal_delay_s", "partition", "account", "qos"),
    *("constraint", "setup", "additional_parameters"),
)
"""Fields with the same name in hydra-submitit-launcher and in resources.train."""


def hydra_settings(recipe: Recipe) -> dict[str, Any]:
    """Key -> value for every launcher: recipe, search path, and Hydra's own output."""
    return {
        "recipe_dir": str(recipe.directory),
        "hydra.searchpath": [f"file://{folder}" for folder in recipe.folders[1:]],
        "hydra.sweep.dir": "${sweep.dir}/hydra",
        "hydra.output_subdir": None,
        "hydra.job.name": recipe.directory.name,
    }


def launcher_settings(launcher: str) -> dict[str, Any]:
    """Key -> value for a launcher of Hydra: the resources of its jobs follow from resources.train.

    A job has one task on each node: the first starts the ranks, as steps inside the job.
    """
    cpus = "${times:${resources.train.tasks_per_node},${resources.train.cpus_per_task}}"
    fields: dict[str, Any] = {"submitit_local": {"timeout_min": _TRAIN_FIELD % "timeout_min"}}
    fields["submitit_slurm"] = {name: _TRAIN_FIELD % name for name in _SHARED_FIELDS} | {
        "cpus_per_task": cpus
    }
    return {f"hydra.launcher.{name}": value for name, value in fields.get(launcher, {}).items()}


def to_overrides(values: dict[str, Any]) -> Sequence[str]:
    """Overrides in Hydra's syntax."""
    return [f"{key}={_quoted(value)}" for key, value in values.items()]


def _quoted(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_quoted, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return {None: "null", True: "true", False: "false"}[value]
