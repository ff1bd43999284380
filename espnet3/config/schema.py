"""Types and bounds of the keys that every recipe has: checked whichever file or override set them."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from espnet3.config.dataloader import check_dataloader_config
from espnet3.config.optimizers import check_optimizers
from espnet3.config.target_keys import check_target_keys
from espnet3.config.trainer_keys import check_trainer_keys
from espnet3.errors import UserError, nearest, suggestion
from espnet3.slurm.sbatch_options import check_sbatch_options

Check = tuple[Callable[[Any], bool], str]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


AT_LEAST_0: Check = (lambda value: _is_int(value) and value >= 0, "a whole number, 0 or more")
AT_LEAST_1: Check = (lambda value: _is_int(value) and value >= 1, "a whole number, 1 or more")
LIMIT: Check = (lambda value: value is None or (_is_int(value) and value >= -1), "a whole number, or -1")
FOLDER_NAME: Check = (
    lambda value: str(value) not in ("", ".", "..", "stats") and not set(str(value)) & set("/\\\n\0"),
    "a folder name (not 'stats', which holds the statistics)",
)

MULTI_TASK_STAGES = ("collect_stats", "train")
"""Stages that run as several ranks; the others are one task."""
LAUNCHERS = ("local", "slurm", "allocation", "debug")
LAUNCHER: Check = (lambda value: value in LAUNCHERS, "one of " + ", ".join(LAUNCHERS))
NAME: Check = (
    lambda value: (
        value is None
        or (
            isinstance(value, str | int)
            and not isinstance(value, bool)
            and str(value).strip() != ""
            and "\n" not in str(value)
        )
    ),
    "a name, or null",
)


def _is_command(value: Any) -> bool:
    if not isinstance(value, str) or "\n" in value:
        return value is None
    try:
        return shlex.split(value) != []
    except ValueError:  # a quotation that does not end
        return False


COMMAND: Check = (_is_command, "a command as in a shell, or null")
LINES: Check = (
    lambda value: (
        isinstance(value, list | ListConfig)
        and all(isinstance(line, str) and "\n" not in line for line in value)
    ),
    "a list of texts of one line each",
)

RESOURCES: dict[str, Check] = {
    "nodes": AT_LEAST_1,
    "tasks_per_node": AT_LEAST_1,
    "gpus_per_node": AT_LEAST_0,
    "cpus_per_task": AT_LEAST_1,
    "launcher": LAUNCHER,
    "mem_gb": (
        lambda v: v is None or (isinstance(v, int | float) and not isinstance(v, bool) and v > 0),
        "GB, more than 0, or null",
    ),
    "timeout_min": AT_LEAST_1,
    "signal_delay_s": AT_LEAST_1,
    "max_restarts": AT_LEAST_0,
    "partition": NAME,
    "account": NAME,
    "qos": NAME,
    "constraint": NAME,
    "setup": (
        lambda value: LINES[0](value) and not any(line.startswith("#SBATCH") for line in value),
        LINES[1] + "; options of sbatch go into additional_parameters",
    ),
    "python": COMMAND,
    "srun_args": LINES,
    "additional_parameters": (
        lambda value: isinstance(value, dict | DictConfig),
        "options of sbatch and their values: {reservation: name}",
    ),
}

KEYS: dict[str, Check] = {
    "tag": FOLDER_NAME,
    "seed": AT_LEAST_0,
    "trainer.max_epochs": LIMIT,
    "trainer.max_steps": LIMIT,
    "trainer.accumulate_grad_batches": AT_LEAST_1,
    "trainer.check_val_every_n_epoch": (lambda v: v is None or (_is_int(v) and v >= 1), AT_LEAST_1[1]),
    "trainer.log_every_n_steps": AT_LEAST_1,
    "checkpoint.monitor": (lambda value: isinstance(value, str), "the name of a logged metric"),
    "checkpoint.mode": (lambda value: value in ("min", "max"), "min or max"),
    "checkpoint.save_top_k": AT_LEAST_1,
    "checkpoint.keep_last": AT_LEAST_1,
    "checkpoint.every_minutes": (
        lambda v: v is None or (isinstance(v, int | float) and not isinstance(v, bool) and v > 0),
        "minutes, more than 0, or null",
    ),
    "checkpoint.every_n_batches": (
        lambda v: v is None or (_is_int(v) and v >= 1),
        AT_LEAST_1[1] + ", or null",
    ),
    "collect_stats.batch_size": AT_LEAST_1,
    "collect_stats.num_workers": AT_LEAST_0,
    "launcher.name": LAUNCHER,
    "sweep.objective": (
        lambda v: v is None or (isinstance(v, str) and v.startswith("valid/")),
        "a metric of the valid split (valid/…), or null: trials are never chosen by test",
    ),
    "sweep.direction": (lambda v: v in (None, "minimize", "maximize"), "minimize, maximize, or null"),
    "sweep.max_parallel": (lambda v: v is None or (_is_int(v) and v >= 1), AT_LEAST_1[1] + ", or null"),
    "sweep.trials_per_job": AT_LEAST_1,
    "sweep.searcher.mem_gb": RESOURCES["mem_gb"],
    "sweep.searcher.timeout_min": (
        lambda v: v is None or (_is_int(v) and v >= 1),
        AT_LEAST_1[1] + ", or null",
    ),
    "sweep.searcher.partition": NAME,
    "sweep.searcher.qos": NAME,
}


KNOWN = (
    *("recipe_dir", "tag", "data_dir", "exp_dir", "stats_dir", "manifests", "prepare", "collect_stats"),
    *("seed", "init_from", "checkpoint", "callbacks", "dataset", "dataloader", "model", "trainer"),
    *("optimizer", "scheduler", "scheduler_interval", "scheduler_monitor", "optimizers", "schedulers"),
    *("logger", "validate", "resources", "launcher", "sweep", "num_device"),
)
"""Keys at the top level that have a meaning; a recipe may add names of its own to interpolate."""
GROUPS = {
    "checkpoint": ("monitor", "mode", "save_top_k", "keep_last", "every_minutes", "every_n_batches"),
    "collect_stats": ("depends_on", "batch_size", "num_workers"),
    "sweep": ("dir", "objective", "direction", "max_parallel", "trials_per_job", "searcher"),
    "sweep.searcher": ("mem_gb", "timeout_min", "partition", "qos"),
}
"""Blocks of which all keys are known."""
OF_OPTIMIZERS = ("optimizer", "scheduler", "optimizers", "schedulers")
_LOOKS_MISTYPED = 0.85


def check_config(config: DictConfig) -> None:
    """Check the resolved `config`.

    Raises:
        UserError: naming the first key whose value is not what it takes, that is no key of resources, or
            that looks like a mistyped one.
    """
    for key in map(str, config):
        guess = nearest(key, KNOWN, cutoff=_LOOKS_MISTYPED)
        if key not in KNOWN and guess:
            raise UserError(f"{key} is no key of a recipe's configuration; did you mean {guess}?")
    check_trainer_keys(map(str, config.trainer))
    check_dataloader_config(config.get("dataloader"))
    if any(config.get(key) is not None for key in OF_OPTIMIZERS):  # a new recipe may have none yet
        check_optimizers(config)
    check_target_keys(config)
    for key, check in KEYS.items():
        _check(key, OmegaConf.select(config, key), check)
    for group, keys in GROUPS.items():
        for key in map(str, OmegaConf.select(config, group)):
            if key not in keys:
                raise UserError(f"{group}.{key} is no key of {group}; {suggestion(key, keys)}")
    check_resources(config)
    if config.init_from is not None and not Path(config.init_from).is_file():
        raise UserError(f"init_from={config.init_from}: there is no such file; give a checkpoint (*.ckpt)")


def check_resources(config: DictConfig) -> None:
    """Check `resources.<stage>` of the resolved `config`.

    Raises:
        UserError: naming the first key that is no resource, or whose value is not what it takes.
    """
    for stage, resources in config.resources.items():
        for name, value in resources.items():
            key = f"resources.{stage}.{name}"
            if name not in RESOURCES:
                raise UserError(f"{key} is no resource; {suggestion(str(name), RESOURCES)}")
            _check(key, value, RESOURCES[name])
        further = resources.get("additional_parameters") or {}
        check_sbatch_options(f"resources.{stage}.additional_parameters", further)


def _check(key: str, value: Any, check: Check) -> None:
    is_right, expected = check
    if not is_right(value):
        raise UserError(f"{key}={value}: takes {expected}")
