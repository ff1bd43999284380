"""What a resource is called here that was given by sbatch's name or in its form: time=1:30:00, mem=10G."""

import re
from typing import Any

from espnet3.resources import RESOURCES
from espnet3.slurm.sbatch_options import option_name
from espnet3.slurm.site.partitions import parse_minutes

_SHORT = {"t": "time", "p": "partition", "A": "account", "q": "qos", "N": "nodes", "c": "cpus-per-task"}
_LONGEST = 20
"""Characters of a value that is read."""
_MINUTES = {"d": 1440.0, "h": 60.0, "m": 1.0, "min": 1.0, "s": 1 / 60}
_GIGABYTES = {"T": 1024.0, "G": 1.0, "M": 1 / 1024, "K": 1 / 1024**2}


def resource_named_by_sbatch(key: str, value: Any) -> str:
    """The override that says what `key`, such as resources.train.time, means by sbatch; empty: nothing.

    Where the value can't be read, the override has none: "resources.train.timeout_min=…".
    """
    block, _, option = key.rpartition(".")
    if option in RESOURCES or not re.fullmatch(r"resources\.\w+", block):
        return ""
    option = _SHORT.get(option, option_name(option))
    for name, resource in RESOURCES.items():
        if option in (resource.sbatch, *resource.decides):
            return f"{block}.{name}={_converted(name, value) if option == resource.sbatch else '…'}"
    return ""


def minutes_of(value: Any) -> int | None:
    """Minutes, rounded up, of a time as people write it: 1h, 90m, 1h30m, 2d, and sbatch's 1-12:00:00.

    None where it is no time.
    """
    text = str(value).replace(" ", "").lower()
    if len(text) > _LONGEST:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(d|h|min|m|s)", text)
    if parts and "".join(map("".join, parts)) == text:
        minutes: float | None = sum(float(number) * _MINUTES[unit] for number, unit in parts)
    else:
        minutes = parse_minutes(text)
    return None if minutes is None else max(1, -int(-minutes // 1))


def _converted(name: str, value: Any) -> object:
    """The value of sbatch's option as the resource `name` has it; "…" where it can't be read."""
    if name == "timeout_min":
        return minutes_of(value) or "…"
    size = re.fullmatch(r"(\d{1,12}(?:\.\d+)?)([TGMK]?)B?", str(value), re.IGNORECASE)
    if name == "mem_gb":
        return f"{float(size[1]) * _GIGABYTES[size[2].upper() or 'M']:.6g}" if size else "…"
    return value if isinstance(value, str | int | float) else "…"
