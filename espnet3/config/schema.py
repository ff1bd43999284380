"""Types and bounds of the keys that every recipe has: checked whichever file or override set them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.config.overrides import nearest
from espnet3.config.trainer_keys import check_trainer_keys
from espnet3.errors import UserError

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

RESOURCES: dict[str, Check] = {
    "nodes": AT_LEAST_1,
    "tasks_per_node": AT_LEAST_1,
    "gpus_per_node": AT_LEAST_0,
    "cpus_per_task": AT_LEAST_1,
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
    "launcher.name": (lambda value: value in ("local", "debug"), "local or debug"),
}


KNOWN = (
    *("recipe_dir", "tag", "data_dir", "exp_dir", "stats_dir", "manifests", "prepare", "collect_stats"),
    *("seed", "init_from", "checkpoint", "callbacks", "dataset", "dataloader", "model", "trainer"),
    *("optimizer", "scheduler", "scheduler_interval", "scheduler_monitor", "optimizers", "schedulers"),
    *("logger", "validate", "resources", "launcher", "num_device"),
)
"""Keys at the top level that have a meaning; a recipe may add names of its own to interpolate."""
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
            raise UserError(f"{key} is no key of a recipe's configuration; did you mean {guess[0]}?")
    check_trainer_keys(map(str, config.trainer))
    for key, check in KEYS.items():
        _check(key, OmegaConf.select(config, key), check)
    for stage, resources in config.resources.items():
        for name, value in resources.items():
            key = f"resources.{stage}.{name}"
            if name not in RESOURCES:
                guess = nearest(str(name), RESOURCES)
                hint = f"did you mean {guess[0]}?" if guess else f"known are {', '.join(RESOURCES)}"
                raise UserError(f"{key} is no resource; {hint}")
            _check(key, value, RESOURCES[name])
    if config.init_from is not None and not Path(config.init_from).is_file():
        raise UserError(f"init_from={config.init_from}: there is no such file; give a checkpoint (*.ckpt)")


def _check(key: str, value: Any, check: Check) -> None:
    is_right, expected = check
    if not is_right(value):
        raise UserError(f"{key}={value}: takes {expected}")
