"""Checks the keys of `trainer:` without importing Lightning."""

import re
from collections.abc import Mapping
from typing import Any

from espnet3.config.config_value import config_value
from espnet3.errors import ConfigurationError, UserError, nearest, suggestion
from espnet3.value_checks import BOOLEAN, LARGEST, Check, either, is_int, is_number, one_of, or_null, whole

STRATEGIES = (
    *("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true"),
    *("deepspeed", "deepspeed_stage_1", "deepspeed_stage_2", "deepspeed_stage_2_offload"),
    *("deepspeed_stage_3", "deepspeed_stage_3_offload", "deepspeed_stage_3_offload_nvme"),
    *("fsdp", "fsdp_cpu_offload", "single_device", "single_tpu", "single_xla", "xla", "xla_debug"),
)
"""Names of Lightning's strategies, but for those that start the ranks themselves."""

PRECISIONS = (
    *("32-true", "bf16-mixed", "16-mixed", "64-true", "16-true", "bf16-true"),
    *("transformer-engine", "transformer-engine-float16", "64", "32", "16", "bf16", 64, 32, 16),
)
"""What Lightning takes as `precision`."""

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")

_SHARE: Check = (
    lambda v: (is_int(v) and 1 <= v <= LARGEST) or (isinstance(v, float) and 0 < v <= 1),
    "a number of batches, 1 or more, or a share of them as a decimal, above 0.0 to 1.0",
)
_SHARE_OR_NONE: Check = (
    lambda v: (v == 0 and not isinstance(v, bool)) or _SHARE[0](v),
    "a number of batches, 0 or more, or a share of them as a decimal, 0.0 to 1.0",
)
_DURATION: Check = (
    lambda v: isinstance(v, str) and re.fullmatch(r"\d{1,4}(:\d{1,2}){3}", v) is not None,
    "a time in quotation marks, 'DD:HH:MM:SS'",
)
_NAME: Check = (lambda v: isinstance(v, str) and v.strip() != "", "a name")
_LIMIT = or_null((whole(-1)[0], "a whole number, or -1"))

ARGUMENTS: dict[str, Check] = {
    "accelerator": one_of(ACCELERATORS),
    "strategy": (one_of(STRATEGIES)[0], "auto, ddp, or another of Lightning's strategies"),
    "devices": or_null(either(whole(1), one_of(["auto"]))),
    "num_nodes": or_null(whole(1)),
    "precision": or_null((one_of(PRECISIONS)[0], "32-true, bf16-mixed, 16-mixed, or another of Lightning's")),
    "sync_batchnorm": BOOLEAN,
    "max_epochs": _LIMIT,
    "min_epochs": or_null(whole(0)),
    "max_steps": _LIMIT,
    "min_steps": or_null(whole(0)),
    "max_time": or_null(_DURATION),
    "limit_train_batches": or_null(_SHARE),
    "limit_val_batches": or_null(_SHARE_OR_NONE),
    "limit_test_batches": or_null(_SHARE_OR_NONE),
    "limit_predict_batches": or_null(_SHARE_OR_NONE),
    "overfit_batches": _SHARE_OR_NONE,
    "val_check_interval": or_null(either(_SHARE, _DURATION)),
    "check_val_every_n_epoch": or_null(whole(1)),
    "num_sanity_val_steps": (whole(-1)[0], "a whole number, or -1 for all"),
    "accumulate_grad_batches": whole(1),
    "gradient_clip_val": or_null(
        (lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v >= 0, "a number, 0 or more")
    ),
    "gradient_clip_algorithm": or_null(one_of(("norm", "value"))),
    "log_every_n_steps": whole(1),
    "enable_progress_bar": or_null(BOOLEAN),
    "enable_model_summary": or_null(BOOLEAN),
    "enable_autolog_hparams": BOOLEAN,
    "model_registry": or_null(_NAME),
    "deterministic": or_null(either(BOOLEAN, one_of(["warn"]))),
    "benchmark": or_null(BOOLEAN),
    "inference_mode": BOOLEAN,
    "profiler": or_null(one_of(("simple", "advanced", "pytorch", "xla"))),
    "detect_anomaly": BOOLEAN,
    "reload_dataloaders_every_n_epochs": whole(0),
}
"""Arguments of lightning.pytorch.Trainer that are given under `trainer:`, and what each takes besides a
`_target_`; what Lightning itself refuses later, and what trains nothing, is not among it."""

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

MATMUL_PRECISIONS = ("highest", "high", "medium")
"""What `trainer.float32_matmul_precision` may say, as in torch."""

NONFINITE_GRADIENTS = ("skip", "error", "ignore")
"""What `trainer.nonfinite_gradients` may say; the first is the default."""

OURS: dict[str, Check] = {
    "float32_matmul_precision": or_null(one_of(MATMUL_PRECISIONS)),
    "nonfinite_gradients": or_null(one_of(NONFINITE_GRADIENTS)),
    "hang_timeout_s": or_null(
        (lambda v: v == "auto" or (is_number(v) and 1 <= v <= LARGEST), "seconds, 1 or more, or auto")
    ),
}
"""Keys under `trainer:` that are no arguments of Lightning's Trainer, and what each takes."""

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
        known = ARGUMENTS | OURS
        if key not in (*known, *UNUSED):
            hint = suggestion(key, known, prefix="trainer.")
            raise UserError(f"trainer.{key} is no argument of Lightning's Trainer; {hint}")
    strategy = options.get("strategy")
    where, start = "trainer.strategy", strategy
    if isinstance(strategy, Mapping):
        where, start = "trainer.strategy.start_method", strategy.get("start_method")
    if any(word in str(start) for word in STARTS_PROCESSES):
        raise UserError(f"{where}={start} starts ranks itself, but the launcher does: give auto or ddp")

    for key, value in options.items():
        if key in UNUSED or isinstance(value, Mapping):
            continue
        takes, expected = (ARGUMENTS | OURS)[key]
        if not takes(value):
            raise UserError(f"trainer.{key}={value}: takes {expected}{_hint(key, value)}")
    if options.get("check_val_every_n_epoch", 1) is None and isinstance(
        options.get("val_check_interval"), float
    ):
        raise UserError(
            "trainer.check_val_every_n_epoch=null counts batches over epochs: give trainer.val_check_interval"
            f" as a whole number of them, given: {options['val_check_interval']}"
        )


def _hint(key: str, value: Any) -> str:
    """The name that was meant, where it is near."""
    names = {"precision": PRECISIONS, "strategy": STRATEGIES, "accelerator": ACCELERATORS}.get(key, ())
    guess = nearest(str(value), map(str, names))
    return f"; did you mean {guess}?" if guess else ""


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
