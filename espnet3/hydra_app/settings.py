"""Overrides that we add to Hydra's command line: paths, and the resources of its launchers."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from omegaconf import OmegaConf

from espnet3.config.compose import Recipe
from espnet3.resources import RESOURCES

_TRAIN_FIELD = "${resources.train.%s}"


def _further_options(resources: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """`additional_parameters` of `resources`, and the options of those for which the launcher has no key."""
    given = {RESOURCES[name].sbatch: RESOURCES[name].sbatch_value(resources[name]) for name in names}
    own = {option: value for option, value in given.items() if value is not None}
    return own | dict(resources["additional_parameters"])


OmegaConf.register_new_resolver("further_options", _further_options, replace=True)


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
    asked: dict[str, Any] = {"submitit_local": {"timeout_min": _TRAIN_FIELD % "timeout_min"}}
    if launcher == "submitit_slurm":
        from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf  # type: ignore[import-untyped]

        given = [name for name, known in RESOURCES.items() if not known.own_tasks_only]
        known_there = {item.name for item in fields(SlurmQueueConf)}
        asked[launcher] = {name: _TRAIN_FIELD % name for name in given if name in known_there}
        asked[launcher]["cpus_per_task"] = cpus
        further = [name for name in given if name not in known_there]
        if further:
            words = ",".join(["${resources.train}", *further])
            asked[launcher]["additional_parameters"] = f"${{further_options:{words}}}"
    return {f"hydra.launcher.{name}": value for name, value in asked.get(launcher, {}).items()}


def to_overrides(values: dict[str, Any]) -> Sequence[str]:
    """Overrides in Hydra's syntax."""
    return [f"{key}={_quoted(value)}" for key, value in values.items()]


def _quoted(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_quoted, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return {None: "null", True: "true", False: "false"}[value]
