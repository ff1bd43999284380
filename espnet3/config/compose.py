"""From a recipe's folder and overrides to its configuration; every mistake is one UserError."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from espnet3.config.allocation import allocated_resources
from espnet3.config.checks.schema import check_config
from espnet3.config.fingerprint import stats_hash
from espnet3.config.overrides import apply_values, check_choice, parse_overrides, split_overrides
from espnet3.config.secrets import check_secrets_set, refuse_secrets, secrets_named
from espnet3.config.site import Site, read_site
from espnet3.errors import UserError, short_path
from espnet3.slurm.allocation import Allocation

OmegaConf.register_new_resolver("max", lambda *numbers: max(numbers), replace=True)
OmegaConf.register_new_resolver("times", lambda one, other: one * other, replace=True)


@dataclass(frozen=True)
class Recipe:
    """A folder under egs/ that can be run."""

    directory: Path

    @property
    def conf(self) -> Path:
        """Its configuration; `config.yaml` in it is the primary one."""
        return self.directory / "conf"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where its files come from, the first before the others: its own, its corpus's, those of all."""
        corpus = self.directory.parent / "conf"
        return (self.conf, *([corpus] if corpus.is_dir() else []), shared_conf())

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


def compose(recipe: Recipe, overrides: Sequence[str], allocation: Allocation | None = None) -> DictConfig:
    """The recipe's configuration, the user's site file over it, over both `overrides` (Hydra's syntax).

    It is resolved and checked.

    Args:
        recipe: whose files are read.
        overrides: what the user gave on the command line.
        allocation: the one this process is in. Stages run there unless `overrides` choose another launcher,
            and what they have follows from it, whatever files say; `overrides` may differ.

    Raises:
        UserError: for a mistyped key, a value of the wrong type, a group that does not exist, a broken
            file, an interpolation without a target; the message names key and file.
    """
    return settle(open_config(recipe, parse_overrides(overrides), allocation), recipe)


def open_config(
    recipe: Recipe, overrides: Sequence[Override], allocation: Allocation | None = None
) -> DictConfig:
    """As `compose`, not yet resolved nor checked: further keys can be set in it.

    Raises:
        UserError: see `compose`.
    """
    return open_with_sweeper(recipe, overrides, allocation)[0]


def open_with_sweeper(
    recipe: Recipe, overrides: Sequence[Override], allocation: Allocation | None = None
) -> tuple[DictConfig, dict[str, Any]]:
    """As `open_config`, and how --multirun sweeps: `hydra.sweeper`, see `swept_by`.

    Returns:
        The configuration, and what is under that key as nested dicts and lists.

    Raises:
        UserError: see `compose`.
    """
    site = read_site(os.environ)
    groups, values = split_overrides(overrides, *recipe.folders)
    chosen = any(override.key_or_group in ("launcher", "launcher.name") for override in [*groups, *values])
    stays = allocation is not None and not allocation.is_ours and not chosen
    default = "allocation" if stays else site.launcher
    if default and not chosen:
        groups = [*parse_overrides([f"launcher={default}"]), *groups]
    for override in groups:
        check_choice(override, *recipe.folders)
    base = _compose_files(recipe, [override.input_line or "" for override in groups])
    sweeper: Any = OmegaConf.to_container(base.hydra.sweeper, resolve=True)
    with open_dict(base):
        base.pop("hydra")
    base.recipe_dir = str(recipe.directory)
    base = site.over(base)
    if stays:
        for resources in base.resources.values():
            resources.launcher = "${launcher.name}"
    config = apply_values(base, values, recipe.primary)
    if allocation is not None:
        with resolving(recipe.primary, site):
            base = _inside(allocation, base, config)
        config = apply_values(base, values, recipe.primary)
    return config, dict(sweeper)


def swept_by(sweeper: Mapping[str, Any]) -> dict[str, str]:
    """What a recipe sweeps by itself, its `hydra.sweeper.params`, as it is typed: {"optimizer.lr": "1,2"}."""
    return {str(key): str(value) for key, value in (sweeper.get("params") or {}).items()}


def settle(config: DictConfig, recipe: Recipe) -> DictConfig:
    """Resolve `config`, which came from `open_config`, in place, and check it.

    Raises:
        UserError: see `compose`.
    """
    with resolving(recipe.primary, read_site(os.environ)):
        if config.stats_dir == "auto":
            config.stats_dir = "@stats"  # the model may name files below it: they must not move the hash
            config.stats_dir = f"{config.recipe_dir}/exp/stats/{stats_hash(config)}"
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise UserError(f"{missing[0]} has no value in {recipe.primary}: give {missing[0]}=…")
        with secrets_named(config):
            OmegaConf.resolve(config)
    refuse_secrets(config)
    check_secrets_set(config, os.environ)
    check_config(config)
    return config


@contextmanager
def resolving(where: str, site: Site) -> Iterator[None]:
    """What OmegaConf says of a value that can't be resolved, as the user's mistake.

    Args:
        where: the file that is named where OmegaConf names no key.
        site: is named instead, if the key comes from there.

    Raises:
        UserError: see `compose`.
    """
    try:
        yield
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or where
        file = f"{short_path(site.path)}: " if site.sets(key) else ""
        raise UserError(f"{file}{key}: {_first_line(error)}") from error


def _inside(allocation: Allocation, base: DictConfig, config: DictConfig) -> DictConfig:
    """`base`, where the stages that `config` runs in the allocation ask for what is there."""
    resources = {
        stage: allocated_resources(allocation, str(stage))
        for stage in config.resources
        if config.resources[stage].launcher == "allocation"
    }
    return OmegaConf.merge(base, {"resources": resources})  # type: ignore[return-value]


def _compose_files(recipe: Recipe, overrides: list[str]) -> DictConfig:
    """Hydra's composition of the recipe's files over the shared ones, with its own settings under `hydra`."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    try:
        with _no_other_hydra(), initialize_config_dir(str(recipe.conf), version_base=None):
            searched = ", ".join(f"file://{folder}" for folder in recipe.folders[1:])
            return hydra_compose(
                "config",
                overrides=[f"hydra.searchpath=[{searched}]", *overrides],
                return_hydra_config=True,
            )
    except yaml.YAMLError as error:
        raise UserError(f"{short_path(recipe.conf)}: broken YAML: {' '.join(str(error).split())}") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_composition_message(error, recipe)) from error


@contextmanager
def _no_other_hydra() -> Iterator[None]:
    """Inside an application of Hydra's there is one already: set it aside."""
    from hydra.core.global_hydra import GlobalHydra

    present = GlobalHydra.instance()
    before, present.hydra = present.hydra, None
    try:
        yield
    finally:
        present.hydra = before


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
