"""Reads the saved configuration of a job or an attempt."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf


def read_config(path: Path) -> DictConfig:
    """The configuration in the YAML file `path`; access to unknown keys is an error."""
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    OmegaConf.set_struct(config, True)
    return config
