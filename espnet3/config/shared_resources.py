"""The configuration of resources without a recipe: shared defaults, the site file, and overrides."""

import os
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from espnet3.config.checks.schema import check_resources
from espnet3.config.compose import resolving, shared_conf
from espnet3.config.overrides import apply_values, parse_overrides
from espnet3.config.secrets import refuse_secrets, secrets_named
from espnet3.config.site import read_site
from espnet3.errors import short_path


def compose_resources(overrides: Sequence[str]) -> DictConfig:
    """`resources`, and `launcher` (slurm), as in a recipe that sets none of its own.

    Raises:
        UserError: see `espnet3.config.compose.compose`.
    """
    path, site = shared_conf() / "resources.yaml", read_site(os.environ)
    base = OmegaConf.merge({"launcher": {"name": "slurm"}}, OmegaConf.load(path))
    assert isinstance(base, DictConfig)
    config = apply_values(site.over(base), parse_overrides(overrides), short_path(path))
    with resolving(short_path(path), site, config), secrets_named(config):
        OmegaConf.resolve(config)
    refuse_secrets(config)
    check_resources(config)
    return config
