"""From a recipe's folder and overrides to its configuration; every mistake is one UserError."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from espnet3.config.fingerprint import stats_hash
from espnet3.config.overrides import apply_values, check_choice, parse_overrides, split_overrides
from espnet3.config.schema import check_config
from espnet3.errors import UserError, short_path

OmegaConf.register_new_resolver("max", lambda *numbers: max(numbers), replace=True)


@dataclass(frozen=True)
class Recipe:
    """A folder under egs/ that can be run."""

    directory: Path

    @property
    def conf(self) -> Path:
        """Its configuration; `config.yaml` in it is the primary one."""
        return self.directory / "conf"

    @property
    def primary(self) -> str:
        """Its configuration file, as messages name it."""
        return short_path(self.conf / "config.yaml")


def find_recipe(directory: Path) -> Recipe:
    """The recipe in `directory`.

    Raises:
        UserError: when there is no conf/config.yaml in it.
    """
    recipe = Recipe(directory.resolve())
    if not (recipe.conf / "config.yaml").is_file():
        raise UserError(f"{directory} is no recipe: it has no conf/config.yaml")
    return recipe


def shared_conf() -> Path:
    """The groups that every recipe shares: conf/ of the clone, or the copy inside an installed package."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def compose(recipe: Recipe, overrides: Sequence[str]) -> DictConfig:
    """The recipe's configuration with `overrides` (Hydra's syntax), resolved and checked.

    Raises:
        UserError: for a mistyped key, a value of the wrong type, a group that does not exist, a broken
            file, an interpolation without a target; the message names key and file.
    """
    groups, values = split_overrides(parse_overrides(overrides), recipe.conf, shared_conf())
    for override in groups:
        check_choice(override, recipe.conf, shared_conf())
    base = _compose_files(recipe, [override.input_line or "" for override in groups])
    base.recipe_dir = str(recipe.directory)
    config = apply_values(base, values, recipe.primary)
    try:
        if config.stats_dir == "auto":
            config.stats_dir = "@stats"  # the model may name files below it: they must not move the hash
            config.stats_dir = f"{config.recipe_dir}/exp/stats/{stats_hash(config)}"
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise UserError(f"{missing[0]} has no value in {recipe.primary}: give {missing[0]}=…")
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or recipe.primary
        raise UserError(f"{key}: {_first_line(error)}") from error
    check_config(config)
    return config


def _compose_files(recipe: Recipe, overrides: list[str]) -> DictConfig:
    """Hydra's composition of the recipe's files over the shared ones."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    try:
        with initialize_config_dir(str(recipe.conf), version_base=None):
            config = hydra_compose(
                "config", overrides=[f"hydra.searchpath=[file://{shared_conf()}]", *overrides]
            )
    except yaml.YAMLError as error:
        raise UserError(f"{short_path(recipe.conf)}: broken YAML: {' '.join(str(error).split())}") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_composition_message(error, recipe)) from error
    with open_dict(config):
        config.pop("hydra", None)
    return config


def _composition_message(error: Exception, recipe: Recipe) -> str:
    """Hydra's several lines as one, with the choices where it lists some."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    choices = [line for line in lines[1:] if not line.startswith(("Config search path", "provider=", "set "))]
    shown = " ".join([lines[0], *choices]) if lines else type(error).__name__
    return f"{short_path(recipe.conf)}: {shown}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def to_plain(config: Any) -> Any:
    """Resolved configuration as dicts and lists."""
    return OmegaConf.to_container(config, resolve=True)
