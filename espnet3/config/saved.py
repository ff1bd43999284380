"""Read the configuration that a job or an attempt was given, as it was saved."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf


def read_config(path: Path) -> DictConfig:
    """The configuration in the YAML file `path`; keys that it does not have are refused, not added."""
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    OmegaConf.set_struct(config, True)
    return config
