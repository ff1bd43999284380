"""What a stage's job asks for, as one typed class that schema, scripts and steps read."""

from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf


@dataclass(frozen=True)
class Resources:
    """What a stage asks for: `resources.<stage>`, whose keys conf/resources.yaml explains."""

    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_node: int = 0
    cpus_per_task: int = 1
    mem_gb: float | None = None
    timeout_min: int = 1440
    signal_delay_s: int = 120
    max_restarts: int = 3
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: tuple[str, ...] = ()
    python: str | None = None
    srun_args: tuple[str, ...] = ()
    additional_parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, config: DictConfig, stage: str) -> "Resources":
        """Those of `stage`; keys that a test's small configuration leaves out have their defaults."""
        given: Any = OmegaConf.to_container(config.resources[stage], resolve=True)
        values = {item.name: given[item.name] for item in fields(cls) if item.name in given}
        for name in ("setup", "srun_args"):
            values[name] = tuple(map(str, values.get(name) or ()))
        values["additional_parameters"] = dict(values.get("additional_parameters") or {})
        return cls(**values)
