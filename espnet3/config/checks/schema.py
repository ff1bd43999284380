"""Checks types and bounds of the keys that every recipe has, from files and overrides."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.config.checks.blocks import check_entries, check_manifests
from espnet3.config.checks.dataloader import check_dataloader_config
from espnet3.config.checks.folders import check_folders
from espnet3.config.checks.known_keys import has_key, top_keys
from espnet3.config.checks.optimizers import check_optimizers
from espnet3.config.checks.sbatch_names import resource_named_by_sbatch
from espnet3.config.checks.scored_splits import check_scored_splits
from espnet3.config.checks.targets.keys import check_target_keys
from espnet3.config.checks.targets.values import check_target_values
from espnet3.config.checks.trainer_keys import check_trainer_keys
from espnet3.errors import UserError, file_problem, nearest, suggestion
from espnet3.resources import RESOURCES
from espnet3.rundir.records.data_check import LEVELS, ON_BAD
from espnet3.slurm.sbatch_options import check_sbatch_options
from espnet3.value_checks import AT_LEAST_0, AT_LEAST_1, GIGABYTES, NAME, Check, is_number, or_null, whole

RESERVED = ("stats", "sweeps")
"""Folders beside run directories, which a run directory can't be called."""
MAX_NAME_BYTES = 200
"""File systems take 255; folders of trials, and those moved aside, have longer names."""


def _is_folder_name(value: Any) -> bool:
    text = str(value)
    return (
        isinstance(value, str | int | float)
        and not isinstance(value, bool)
        and text.strip() not in ("", ".", "..", *RESERVED)
        and text.isprintable()
        and not set(text) & set("/\\%")  # Slurm replaces %j in names of logs
        and "${" not in text
        and len(text.encode()) <= MAX_NAME_BYTES
    )


FOLDER_NAME: Check = (
    _is_folder_name,
    f"a folder name, not {' or '.join(RESERVED)}, of at most {MAX_NAME_BYTES} bytes without / \\ % ${{",
)
LAUNCHERS = ("local", "slurm", "allocation", "debug")
LAUNCHER: Check = (lambda value: value in LAUNCHERS, "one of " + ", ".join(LAUNCHERS))

KEYS: dict[str, Check] = {
    "tag": FOLDER_NAME,
    "seed": whole(0, 2**32 - 1),
    "check_data": (lambda value: value in LEVELS, " or ".join(LEVELS)),
    "dataset.on_bad": (lambda value: value in ON_BAD, " or ".join(ON_BAD)),
    "checkpoint.monitor": (
        lambda value: isinstance(value, str) and value.strip() != "",
        "the name of a logged metric, such as valid/loss",
    ),
    "checkpoint.mode": (lambda value: value in ("min", "max"), "min or max"),
    "checkpoint.save_top_k": AT_LEAST_1,
    "checkpoint.keep_last": AT_LEAST_1,
    "checkpoint.every_minutes": or_null((lambda v: is_number(v) and v > 0, "minutes, more than 0")),
    "checkpoint.every_n_batches": or_null(AT_LEAST_1),
    "collect_stats.batch_size": AT_LEAST_1,
    "collect_stats.num_workers": AT_LEAST_0,
    "launcher.name": LAUNCHER,
    "sweep.objective": (
        lambda v: v is None or (isinstance(v, str) and v.startswith("valid/")),
        "a metric of the valid split (valid/…), or null: trials are never chosen by test",
    ),
    "sweep.direction": (lambda v: v in (None, "minimize", "maximize"), "minimize, maximize, or null"),
    "sweep.max_trials": AT_LEAST_1,
    "sweep.max_parallel": or_null(AT_LEAST_1),
    "sweep.trials_per_job": AT_LEAST_1,
    "sweep.searcher.mem_gb": GIGABYTES,
    "sweep.searcher.timeout_min": or_null(AT_LEAST_1),
    "sweep.searcher.partition": NAME,
    "sweep.searcher.qos": NAME,
}


GROUPS = {
    "checkpoint": ("monitor", "mode", "save_top_k", "keep_last", "every_minutes", "every_n_batches"),
    "collect_stats": ("depends_on", "batch_size", "num_workers"),
    "sweep": ("dir", "objective", "direction", "max_trials", "max_parallel", "trials_per_job", "searcher"),
    "sweep.searcher": ("mem_gb", "timeout_min", "partition", "qos"),
}
"""Blocks of which all keys are known."""
OPTIMIZER_KEYS = ("optimizer", "scheduler", "optimizers", "schedulers")
_LOOKS_MISTYPED = 0.85


def check_config(config: DictConfig) -> None:
    """Check the resolved `config`.

    Raises:
        UserError: naming the first key that has an invalid value, is unknown under a checked block, or looks
            mistyped.
    """
    known = top_keys()
    for key in map(str, config):
        if set(key) & set("[]") or not key.strip("."):
            raise UserError(f"{key!r} can't be a key of a configuration: give a name without brackets")
        block, _, name = key.partition(".")
        if name and block in known:
            raise UserError(f"{key}: keys are nested in a file: `{block}:`, and below it `{name}: …`")
        guess = nearest(key, known, cutoff=_LOOKS_MISTYPED)
        if key not in known and guess:
            raise UserError(f"{key} is no key of a recipe's configuration; did you mean {guess}?")
    check_resources(config)
    trainer: Any = OmegaConf.to_container(config.trainer)
    check_trainer_keys(trainer)
    check_dataloader_config(config.get("dataloader"))
    if any(config.get(key) is not None for key in OPTIMIZER_KEYS):  # a new recipe may have none yet
        check_optimizers(config)
    check_target_keys(config)
    check_target_values(config)
    if config.tag == "":
        raise UserError("tag is empty (a shell variable that is not set?): give a folder name, tag=NAME")
    check_key("tag", config.tag)  # before the folders that are called by it
    check_folders(config)
    check_entries(config)
    check_manifests(config)
    check_scored_splits(
        *(OmegaConf.to_container(config[key]) if config.get(key) else None for key in ("dataset", "validate"))
    )
    for key, check in KEYS.items():
        if not has_key(config, key) and not check[0](None):
            raise UserError(f"{key} is missing, and takes {check[1]}: every recipe has it, from `base`")
        check_key(key, OmegaConf.select(config, key))
    for group, keys in GROUPS.items():
        for key in map(str, OmegaConf.select(config, group)):
            if key not in keys:
                raise UserError(f"{group}.{key} is no key of {group}; {suggestion(key, keys)}")
    init_from = config.get("init_from")
    if init_from is not None and not (isinstance(init_from, str) and Path(init_from).is_file()):
        problem = file_problem(str(init_from)) or "can't be read"
        raise UserError(f"init_from={init_from}: {problem}; give a checkpoint (*.ckpt), or null")
    scored = Path(str(OmegaConf.select(config, "validate.checkpoint")))
    if scored.is_absolute() and not scored.is_relative_to(config.exp_dir) and not scored.is_file():
        problem = file_problem(scored) or "can't be read"
        raise UserError(f"validate.checkpoint={scored}: {problem}; give best, last or a *.ckpt")


def resource_checks() -> dict[str, Check]:
    """Keys of `resources.<stage>`, and the check of each value."""
    return {name: resource.check for name, resource in RESOURCES.items()} | {"launcher": LAUNCHER}


def check_resources(config: DictConfig) -> None:
    """Check `resources.<stage>` of the resolved `config`.

    Raises:
        UserError: naming the first key that is no resource, or has an invalid value.
    """
    checks = resource_checks()
    for stage, resources in config.resources.items():
        for name, value in resources.items():
            key = f"resources.{stage}.{name}"
            if meant := resource_named_by_sbatch(key, value):
                raise UserError(f"{key}={value}: {key} is sbatch's name of it: give {meant}")
            if name not in checks:
                raise UserError(f"{key} is no resource; {suggestion(str(name), checks)}")
            _check(key, value, checks[name])
        further = resources.get("additional_parameters") or {}
        check_sbatch_options(f"resources.{stage}.additional_parameters", further)


def check_key(key: str, value: Any) -> None:
    """Check the value of a key of KEYS.

    Raises:
        UserError: naming the key and what it takes.
    """
    _check(key, value, KEYS[key])


def _check(key: str, value: Any, check: Check) -> None:
    is_right, expected = check
    if not is_right(value):
        given = "null" if value is None else value
        raise UserError(f"{key}={given}: takes {expected}")
