"""What Hydra is told besides what the user gives: where files are, and what its launchers ask for."""

from collections.abc import Sequence
from typing import Any

from espnet3.config.compose import Recipe

_TRAIN = "${resources.train.%s}"
_SAME = (
    *("nodes", "gpus_per_node", "mem_gb", "timeout_min", "signal_delay_s", "partition", "account", "qos"),
    *("constraint", "setup", "additional_parameters"),
)
"""What hydra-submitit-launcher calls as resources.train does."""


def settings(recipe: Recipe) -> dict[str, Any]:
    """Key -> value, for every launcher: recipe and files, and where Hydra leaves its own."""
    return {
        "recipe_dir": str(recipe.directory),
        "hydra.searchpath": [f"file://{folder}" for folder in recipe.folders[1:]],
        "hydra.sweep.dir": "${sweep.dir}/hydra",
        "hydra.output_subdir": None,
        "hydra.job.name": recipe.directory.name,
    }


def launcher_settings(launcher: str) -> dict[str, Any]:
    """Key -> value, for a launcher that is not ours: what its jobs ask for follows from resources.train.

    A job has one task on each node: the first starts the ranks, as steps inside the job.
    """
    cpus = "${times:${resources.train.tasks_per_node},${resources.train.cpus_per_task}}"
    asked: dict[str, Any] = {"submitit_local": {"timeout_min": _TRAIN % "timeout_min"}}
    asked["submitit_slurm"] = {name: _TRAIN % name for name in _SAME} | {"cpus_per_task": cpus}
    return {f"hydra.launcher.{name}": value for name, value in asked.get(launcher, {}).items()}


def words_of(values: dict[str, Any]) -> Sequence[str]:
    """The same as overrides in Hydra's syntax."""
    return [f"{key}={_quoted(value)}" for key, value in values.items()]


def _quoted(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_quoted, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return {None: "null", True: "true", False: "false"}[value]
