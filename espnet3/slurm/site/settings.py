"""The settings of a Slurm installation, as `scontrol show config` prints them."""

import re


def parse_settings(shown: str) -> dict[str, str]:
    """Its lines "name = value" by name."""
    pairs = (re.match(r"(\w+)\s+= ?(.*)", line) for line in shown.splitlines())
    return {pair[1]: pair[2].strip() for pair in pairs if pair}
