"""Reads the saved configuration of a job, an attempt or a sweep."""

from io import StringIO
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from espnet3.config.checks.yaml_file import load_keys
from espnet3.errors import UserError, one_line, short_path
from espnet3.rundir.files.reading import read_text


def read_config(path: Path) -> DictConfig:
    """The configuration in the YAML file `path`; access to unknown keys is an error.

    Raises:
        UserError: it is missing, can't be read, or is damaged.
    """
    try:
        config = load_keys(StringIO(read_text(path)))
    except FileNotFoundError:
        raise UserError(f"{short_path(path)} is gone: the configuration was saved there") from None
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{short_path(path)}, a saved configuration, is damaged: {one_line(error)}"
        ) from error
    if "recipe_dir" not in config:
        raise UserError(f"{short_path(path)}, a saved configuration, is damaged: it has no recipe_dir")
    OmegaConf.set_struct(config, True)
    return config
