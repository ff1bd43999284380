"""A site's limits on arrays and jobs, from `scontrol show config`."""

import re
from dataclasses import dataclass

from espnet3.errors import UserError
from espnet3.slurm.command import SlurmAway, ask


@dataclass(frozen=True)
class Limits:
    """Limits on arrays and jobs; the defaults are Slurm's own."""

    array_size: int = 1001
    """Elements of one array (MaxArraySize): their indices are below it."""
    jobs: int = 10_000
    """Jobs of all users that Slurm keeps, array elements each counted (MaxJobCount)."""


def read_limits() -> Limits:
    """The site's limits; Slurm's defaults where it does not say.

    Raises:
        SlurmAway: it does not answer.
    """
    try:
        shown = ask(["scontrol", "show", "config"])
    except SlurmAway:
        raise
    except UserError:
        return Limits()
    return parse_limits(shown)


def parse_limits(shown: str) -> Limits:
    """The limits in what `scontrol show config` prints."""
    settings = dict(re.findall(r"^(\w+)\s*=\s*(\d+)\s*$", shown, re.MULTILINE))
    return Limits(
        array_size=int(settings.get("MaxArraySize", Limits.array_size)) or 1,
        jobs=int(settings.get("MaxJobCount", Limits.jobs)),
    )
