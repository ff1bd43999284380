"""A site's limits on arrays and jobs, from `scontrol show config`."""

from collections.abc import Mapping
from dataclasses import dataclass

from espnet3.errors import UserError
from espnet3.slurm.command import SlurmAway, ask
from espnet3.slurm.site.settings import parse_settings


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
    return limits_in(parse_settings(shown))


def limits_in(settings: Mapping[str, str]) -> Limits:
    """The limits among the site's settings."""

    def number(name: str, default: int) -> int:
        value = settings.get(name, "")
        return int(value) if value.isdigit() else default

    return Limits(
        array_size=number("MaxArraySize", Limits.array_size) or 1, jobs=number("MaxJobCount", Limits.jobs)
    )
