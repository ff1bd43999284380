"""Reading `optimizers` and `schedulers` of a configuration into checked dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf

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
    """Selectors of parameters; see `selection`."""
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
    """The logged metric it looks at, in the epochs that refreshed it; only with interval `epoch`."""


@dataclass(frozen=True)
class NamedConfig:
    """`optimizers` and `schedulers`, checked."""

    optimizers: dict[str, NamedOptimizerConfig]
    schedulers: dict[str, NamedSchedulerConfig] = field(default_factory=dict)
    """Empty, or one per optimizer."""


def is_named(config: Any) -> bool:
    """Whether `config` (a DictConfig, dict or namespace) configures named optimizers."""
    return _value(config, "optimizers") is not None or _value(config, "schedulers") is not None


def read_named_config(config: Any) -> NamedConfig:
    """Read and check `optimizers` and `schedulers`; entries that are null at the top are as not given.

    Raises:
        AssertionError: keys of the single-optimizer path are given too, names of schedulers differ from
            those of optimizers, a key is unknown, or a value is not one that it can have. The message
            says what was given.
    """
    single = [key for key in SINGLE_KEYS if _value(config, key) is not None]
    if single:
        raise AssertionError(
            f"{', '.join(single)} cannot be given together with named `optimizers`: use optimizers.<name>."
            "optimizer, schedulers.<name>.scheduler, schedulers.<name>.interval, schedulers.<name>.monitor"
        )
    optimizers = _entries(_value(config, "optimizers"), "optimizers")
    if not optimizers:
        raise AssertionError(
            f"`optimizers` must name at least one optimizer, given: {_value(config, 'optimizers')!r}"
        )
    named = {name: _read_optimizer(name, entry) for name, entry in optimizers.items()}
    if _value(config, "schedulers") is None:
        return NamedConfig(named)
    schedulers = _entries(_value(config, "schedulers"), "schedulers")
    if set(schedulers) != set(optimizers):
        raise AssertionError(
            "the names of `optimizers` and `schedulers` must be the same:"
            f" optimizers are {', '.join(optimizers)}; schedulers are {', '.join(schedulers) or 'none'}"
        )
    return NamedConfig(named, {name: _read_scheduler(name, schedulers[name]) for name in named})


def _read_optimizer(name: str, entry: Any) -> NamedOptimizerConfig:
    where = f"optimizers.{name}"
    given = _mapping(entry, where, OPTIMIZER_KEYS)
    clip_algorithm = given.get("gradient_clip_algorithm")
    if clip_algorithm is None:
        clip_algorithm = "norm"
    if clip_algorithm not in CLIPPING:
        raise AssertionError(
            f"{where}.gradient_clip_algorithm must be norm or value, given: {clip_algorithm!r}"
        )
    return NamedOptimizerConfig(
        name,
        _target(given, "optimizer", where),
        _selectors(given.get("params"), where),
        _count(given, "accum_grad_steps", where),
        _count(given, "step_every_n_iters", where),
        _clip_value(given.get("gradient_clip_val"), where),
        clip_algorithm,
    )


def _read_scheduler(name: str, entry: Any) -> NamedSchedulerConfig:
    where = f"schedulers.{name}"
    given = _mapping(entry, where, SCHEDULER_KEYS)
    interval = given.get("interval")
    if interval is None:
        interval = "epoch"
    if interval not in INTERVALS:
        raise AssertionError(f"{where}.interval must be step or epoch, given: {interval!r}")
    monitor = given.get("monitor")
    if monitor is not None:
        if interval == "step":
            raise AssertionError(
                f"{where}.monitor is only for interval epoch: a scheduler with interval step sees no metric;"
                f" given: {monitor!r}"
            )
        if not isinstance(monitor, str) or not monitor.startswith(("train/", "valid/")):
            raise AssertionError(
                f"{where}.monitor must be a logged metric, as train/loss or valid/{name}/loss,"
                f" given: {monitor!r}"
            )
    return NamedSchedulerConfig(name, _target(given, "scheduler", where), interval, monitor)


def _entries(node: Any, key: str) -> dict[str, Any]:
    entries = _plain(node)
    if not isinstance(entries, Mapping):
        raise AssertionError(f"`{key}` must be a mapping of names, given: {entries!r}")
    for name in entries:
        if not isinstance(name, str) or not name:
            raise AssertionError(f"a name in `{key}` must be text with something in it, given: {name!r}")
    return dict(entries)


def _mapping(entry: Any, where: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise AssertionError(f"{where} must be a mapping with {known[0]!r}, given: {entry!r}")
    unknown = [str(key) for key in entry if key not in known]
    if unknown:
        raise AssertionError(f"{where} has no key {', '.join(unknown)}; known are {', '.join(known)}")
    return entry


def _target(given: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    node = given.get(key)
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise AssertionError(f"{where}.{key} must be {{_target_: class, options}}, given: {node!r}")
    return node


def _selectors(given: Any, where: str) -> tuple[str, ...]:
    selectors = [given] if isinstance(given, str) else given
    ok = isinstance(selectors, list | tuple) and bool(selectors)
    if not ok or not all(isinstance(selector, str) and selector for selector in selectors):
        raise AssertionError(
            f"{where}.params must be a name, a glob or a list of these that select parameters,"
            f" given: {given!r}"
        )
    return tuple(selectors)


def _count(given: Mapping[str, Any], key: str, where: str) -> int:
    value = given.get(key)
    if value is None:
        return 1
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise AssertionError(f"{where}.{key} must be a whole number of at least 1, given: {value!r}")
    return value


def _clip_value(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise AssertionError(
            f"{where}.gradient_clip_val must be a positive number, or null for none, given: {value!r}"
        )
    return float(value)


def _plain(node: Any) -> Any:
    return (
        OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        if OmegaConf.is_config(node)
        else node
    )


def _value(config: Any, key: str) -> Any:
    return config.get(key) if hasattr(config, "get") else getattr(config, key, None)
