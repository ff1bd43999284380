"""Checks the keys of `trainer:` without importing Lightning."""

from collections.abc import Mapping
from typing import Any

from espnet3.config.config_value import config_value
from espnet3.errors import ConfigurationError, UserError, suggestion

ARGUMENTS = (
    *("accelerator", "strategy", "devices", "num_nodes", "precision", "sync_batchnorm"),
    *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time"),
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches"),
    *("overfit_batches", "val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps"),
    *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "log_every_n_steps"),
    *("enable_progress_bar", "enable_model_summary", "enable_autolog_hparams", "model_registry"),
    *("deterministic", "benchmark", "inference_mode", "profiler", "detect_anomaly"),
    "reload_dataloaders_every_n_epochs",
)
"""Arguments of lightning.pytorch.Trainer that are given under `trainer:`."""

SET_ELSEWHERE = {
    "logger": "the configuration group `logger`",
    "callbacks": "the key `callbacks`",
    "default_root_dir": "exp_dir",
    "enable_checkpointing": "the key `checkpoint`",
    "plugins": "nothing: the launcher tells Lightning its ranks",
    "use_distributed_sampler": "nothing: the data loaders deal out the batches to the ranks",
    "barebones": "nothing: a run without logs and checkpoints is not supported",
    "fast_dev_run": "trainer.max_epochs, trainer.limit_train_batches and trainer.limit_val_batches",
}
"""Arguments of the Trainer that are refused under `trainer:`, and what to use instead."""

OURS = ("float32_matmul_precision", "nonfinite_gradients")
"""Keys under `trainer:` that are no arguments of Lightning's Trainer."""

MATMUL_PRECISIONS = ("highest", "high", "medium")
"""What `trainer.float32_matmul_precision` may say, as in torch."""

NONFINITE_GRADIENTS = ("skip", "error", "ignore")
"""What `trainer.nonfinite_gradients` may say; the first is the default."""

UNUSED = ("num_device",)
"""Keys of published configurations that are accepted and ignored: the world size follows from `resources`."""


STARTS_PROCESSES = ("spawn", "fork", "notebook")
"""In the names of strategies that start the ranks themselves."""


def check_trainer_keys(options: Mapping[str, Any]) -> None:
    """Check the names under `trainer:`, and those values that need no Lightning.

    Raises:
        UserError: naming the key and the nearest valid one, or what to use instead.
    """
    for key, value in options.items():
        if isinstance(value, Mapping) and "_target_" not in value:
            raise UserError(f"trainer.{key} is no value of Lightning's Trainer: its _target_ is missing")
        if key in SET_ELSEWHERE:
            raise UserError(f"trainer.{key} cannot be given here: use {SET_ELSEWHERE[key]}")
        if key not in (*ARGUMENTS, *OURS, *UNUSED):
            hint = suggestion(key, (*ARGUMENTS, *OURS), prefix="trainer.")
            raise UserError(f"trainer.{key} is no argument of Lightning's Trainer; {hint}")
    strategy = options.get("strategy")
    where, start = "trainer.strategy", strategy
    if isinstance(strategy, Mapping):
        where, start = "trainer.strategy.start_method", strategy.get("start_method")
    if any(word in str(start) for word in STARTS_PROCESSES):
        raise UserError(f"{where}={start} starts ranks itself, but the launcher does: give auto or ddp")


def matmul_precision(trainer: Mapping[str, Any]) -> str | None:
    """`trainer.float32_matmul_precision`, if it is given.

    Raises:
        UserError: it is none of MATMUL_PRECISIONS.
    """
    given = trainer.get("float32_matmul_precision")
    if given is not None and given not in MATMUL_PRECISIONS:
        raise UserError(
            f"trainer.float32_matmul_precision={given}: takes one of {', '.join(MATMUL_PRECISIONS)}, or null"
        )
    return None if given is None else str(given)


def nonfinite_gradients(config: Any) -> str:
    """What a configuration wants done about gradients that are NaN or Inf: one of NONFINITE_GRADIENTS.

    Raises:
        ConfigurationError: it says something else.
    """
    trainer = config_value(config, "trainer")
    given = None if trainer is None else config_value(trainer, "nonfinite_gradients")
    if given is not None and given not in NONFINITE_GRADIENTS:
        raise ConfigurationError(
            f"trainer.nonfinite_gradients={given}: takes one of {', '.join(NONFINITE_GRADIENTS)}"
        )
    return given or NONFINITE_GRADIENTS[0]


def check_trainer_for_named(options: Mapping[str, Any]) -> None:
    """Refuse arguments of `trainer` that are incompatible with named optimizers.

    Raises:
        ConfigurationError: clipping or accumulation by the Trainer.
        RuntimeError: a DeepSpeed or FSDP strategy.
    """
    for key in ("gradient_clip_val", "gradient_clip_algorithm"):
        if options.get(key) is not None:
            raise ConfigurationError(
                f"trainer.{key} cannot be given with named optimizers: use optimizers.<name>.{key};"
                f" given: {options[key]!r}"
            )
    if options.get("accumulate_grad_batches") not in (None, 1):
        raise ConfigurationError(
            "trainer.accumulate_grad_batches cannot be given with named optimizers: use"
            f" optimizers.<name>.accum_grad_steps; given: {options['accumulate_grad_batches']!r}"
        )
    strategy = options.get("strategy")
    if isinstance(strategy, str) and strategy.startswith(("deepspeed", "fsdp")):
        raise RuntimeError(
            f"trainer.strategy={strategy} cannot run named optimizers (DeepSpeed supports one optimizer only,"
            " FSDP shards parameters): give auto or ddp, or a single `optimizer`"
        )
