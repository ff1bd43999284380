"""Reading `optimizers` and `schedulers` of a configuration into checked dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.config.config_value import config_value
from espnet3.errors import ConfigurationError, suggestion

CLIPPING = ("norm", "value")
INTERVALS = ("step", "epoch")
OPTIMIZER_KEYS = (
    "optimizer",
    "params",
    "accum_grad_steps",
    "step_every_n_iters",
    "gradient_clip_val",
    "gradient_clip_algorithm",
)
SCHEDULER_KEYS = ("scheduler", "interval", "monitor")
SINGLE_KEYS = ("optimizer", "scheduler", "scheduler_interval", "scheduler_monitor")


@dataclass(frozen=True)
class NamedOptimizerConfig:
    """One entry of `optimizers`."""

    name: str
    """The routing key, as in `OptimizationStep(name=…)`."""
    optimizer: Mapping[str, Any]
    """`{_target_: …}`; gets the selected parameters."""
    params: tuple[str, ...]
    """Selectors of parameters: names, some of their segments, or globs."""
    accum_grad_steps: int = 1
    """Contributions that are averaged into one update."""
    step_every_n_iters: int = 1
    """Of the accepted batches that name the optimizer, only every n-th contributes."""
    gradient_clip_val: float | None = None
    """The largest norm, or the largest absolute value; None leaves gradients as they are."""
    gradient_clip_algorithm: str = "norm"
    """`norm`: of all gradients of the optimizer together; `value`: of each element."""


@dataclass(frozen=True)
class NamedSchedulerConfig:
    """One entry of `schedulers`."""

    name: str
    scheduler: Mapping[str, Any]
    """`{_target_: …}`; gets the optimizer of the same name."""
    interval: str = "epoch"
    """`step`: after each update of its optimizer; `epoch`: at the end of every epoch."""
    monitor: str | None = None
    """The logged metric it reads, in epochs that log it; only with interval `epoch`."""


@dataclass(frozen=True)
class NamedConfig:
    """`optimizers` and `schedulers`, checked."""

    optimizers: dict[str, NamedOptimizerConfig]
    schedulers: dict[str, NamedSchedulerConfig] = field(default_factory=dict)
    """Empty, or one per optimizer."""


def read_named_config(config: Any) -> NamedConfig:
    """Read and check `optimizers` and `schedulers`; null entries at the top level count as not given.

    Raises:
        ConfigurationError: keys of the single-optimizer path are given too, names of schedulers differ from
            those of optimizers, a key is unknown, or a value is invalid. The message says what was
            given.
    """
    single = [key for key in SINGLE_KEYS if config_value(config, key) is not None]
    if single:
        raise ConfigurationError(
            f"{', '.join(single)} cannot be given together with named `optimizers`: use optimizers.<name>."
            "optimizer, schedulers.<name>.scheduler, schedulers.<name>.interval, schedulers.<name>.monitor"
        )
    optimizers = _entries(config_value(config, "optimizers"), "optimizers")
    if not optimizers:
        raise ConfigurationError(
            f"`optimizers` must name at least one optimizer, given: {config_value(config, 'optimizers')!r}"
        )
    named = {name: _read_optimizer(name, entry) for name, entry in optimizers.items()}
    if config_value(config, "schedulers") is None:
        return NamedConfig(named)
    schedulers = _entries(config_value(config, "schedulers"), "schedulers")
    if set(schedulers) != set(optimizers):
        raise ConfigurationError(
            "the names of `optimizers` and `schedulers` must be the same:"
            f" optimizers are {', '.join(optimizers)}; schedulers are {', '.join(schedulers) or 'none'}"
        )
    return NamedConfig(named, {name: _read_scheduler(name, schedulers[name]) for name in named})


def _read_optimizer(name: str, entry: Any) -> NamedOptimizerConfig:
    where = f"optimizers.{name}"
    options = _mapping(entry, where, OPTIMIZER_KEYS)
    clip_algorithm = options.get("gradient_clip_algorithm")
    if clip_algorithm is None:
        clip_algorithm = "norm"
    if clip_algorithm not in CLIPPING:
        raise ConfigurationError(
            f"{where}.gradient_clip_algorithm must be norm or value, given: {clip_algorithm!r}"
        )
    return NamedOptimizerConfig(
        name,
        _target(options, "optimizer", where),
        _selectors(options.get("params"), where),
        _count(options, "accum_grad_steps", where),
        _count(options, "step_every_n_iters", where),
        _clip_value(options.get("gradient_clip_val"), where),
        clip_algorithm,
    )


def _read_scheduler(name: str, entry: Any) -> NamedSchedulerConfig:
    where = f"schedulers.{name}"
    options = _mapping(entry, where, SCHEDULER_KEYS)
    interval = options.get("interval")
    if interval is None:
        interval = "epoch"
    if interval not in INTERVALS:
        raise ConfigurationError(f"{where}.interval must be step or epoch, given: {interval!r}")
    monitor = options.get("monitor")
    if monitor is not None:
        if interval == "step":
            raise ConfigurationError(
                f"{where}.monitor is only for interval epoch: a scheduler with interval step sees no metric;"
                f" given: {monitor!r}"
            )
        if not isinstance(monitor, str) or not monitor.startswith(("train/", "valid/")):
            raise ConfigurationError(
                f"{where}.monitor must be a logged metric, as train/loss or valid/{name}/loss,"
                f" given: {monitor!r}"
            )
    config = NamedSchedulerConfig(name, _target(options, "scheduler", where), interval, monitor)
    if is_plateau(config.scheduler):
        check_gets_metric(config, "ReduceLROnPlateau")
    return config


def check_gets_metric(config: NamedSchedulerConfig, kind: str) -> None:
    """Refuse a scheduler of class `kind`, which looks at a metric, where it would get none.

    Raises:
        ConfigurationError: its interval is step, or it has no monitor.
    """
    where = f"schedulers.{config.name}"
    if config.interval == "step":
        raise ConfigurationError(
            f"{where}: {kind} needs a metric, which only interval epoch gives it; given: interval step"
        )
    if config.monitor is None:
        raise ConfigurationError(
            f"{where}: {kind} needs `monitor`, a logged metric such as valid/{config.name}/loss; given: none"
        )


def is_plateau(scheduler: Any) -> bool:
    """Whether the node of a scheduler names torch's ReduceLROnPlateau, which looks at a metric."""
    return isinstance(scheduler, Mapping | DictConfig) and str(scheduler.get("_target_")).endswith(
        ".ReduceLROnPlateau"
    )


def _entries(node: Any, key: str) -> dict[str, Any]:
    entries = _plain(node)
    if not isinstance(entries, Mapping):
        raise ConfigurationError(f"`{key}` must be a mapping of names, given: {entries!r}")
    for name in entries:
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"a name in `{key}` must be text with something in it, given: {name!r}")
    return dict(entries)


def _mapping(entry: Any, where: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} must be a mapping with {known[0]!r}, given: {entry!r}")
    for key in map(str, entry):
        if key not in known:
            hint = suggestion(key, known, prefix=f"{where}.")
            raise ConfigurationError(f"{where} has no key {key}; {hint}")
    return entry


def _target(options: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    node = options.get(key)
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigurationError(f"{where}.{key} must be {{_target_: class, options}}, given: {node!r}")
    return node


def _selectors(params: Any, where: str) -> tuple[str, ...]:
    selectors = [params] if isinstance(params, str) else params
    ok = isinstance(selectors, list | tuple) and bool(selectors)
    if not ok or not all(isinstance(selector, str) and selector for selector in selectors):
        raise ConfigurationError(
            f"{where}.params must be a name, a glob or a list of these that select parameters,"
            f" given: {params!r}"
        )
    return tuple(selectors)


def _count(options: Mapping[str, Any], key: str, where: str) -> int:
    value = options.get(key)
    if value is None:
        return 1
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{where}.{key} must be a whole number of at least 1, given: {value!r}")
    return value


def _clip_value(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise ConfigurationError(
            f"{where}.gradient_clip_val must be a positive number, or null for none, given: {value!r}"
        )
    return float(value)


def _plain(node: Any) -> Any:
    return (
        OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        if OmegaConf.is_config(node)
        else node
    )
