"""Composes a recipe's configuration from its files and overrides; a user's mistake is a UserError."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from espnet3.config.allocation import allocated_resources
from espnet3.config.checks.blocks import REQUIRED, check_blocks
from espnet3.config.checks.interpolations import explain, reason
from espnet3.config.checks.known_keys import check_depends_on
from espnet3.config.checks.schema import check_config
from espnet3.config.checks.yaml_file import check_no_base_60, load_keys
from espnet3.config.fingerprint import stats_hash
from espnet3.config.flat import flatten
from espnet3.config.hydra_internals import unresolved
from espnet3.config.overrides import apply_values, check_choice, parse_overrides, split_overrides
from espnet3.config.secrets import check_secrets_set, refuse_secrets, secrets_named
from espnet3.config.site import Site, read_site
from espnet3.errors import UserError, directory_problem, no_file, one_line, short_path
from espnet3.slurm.allocation import Allocation

OmegaConf.register_new_resolver("max", lambda *numbers: max(numbers), replace=True)
OmegaConf.register_new_resolver("times", lambda left, right: left * right, replace=True)


_PATH_KEY = re.compile(r"(^|[._])(dir|path|file|folder|directory|root)$")
"""Keys whose value is a file or folder: `corpus_dir`, `data.path`."""


_NO_DEFAULT = re.compile(r"Could not override '([\w/]+)'\. No match in the defaults list")

EXPERIMENT = "experiment"
"""The group of files that change several blocks of a recipe's configuration."""


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
        """Hydra's search path: conf/ of the recipe, of its corpus, of all recipes; the first wins."""
        corpus = self.directory.parent / "conf"
        return (self.conf, *([corpus] if corpus.is_dir() else []), shared_conf())

    @property
    def primary(self) -> str:
        """Its configuration file, as messages name it."""
        return short_path(self.conf / "config.yaml")


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files in and below a folder of configuration, in order.

    Raises:
        UserError: one of them is no file: a folder, or a FIFO that would be waited for.
    """
    paths = sorted(folder.rglob("*.yaml"))
    for path in paths:
        if problem := no_file(path):
            raise UserError(f"{short_path(path)} {problem}")
    return paths


def find_recipe(directory: Path) -> Recipe:
    """The recipe in `directory`.

    Raises:
        UserError: when there is no conf/config.yaml in it.
    """
    recipe = Recipe(directory.resolve())
    if not (recipe.conf / "config.yaml").is_file():
        if problem := directory_problem(directory):
            raise UserError(f"{directory} is no recipe: {problem}")
        problem = no_file(recipe.conf / "config.yaml")
        what = f"its conf/config.yaml {problem}" if problem else "it has no conf/config.yaml"
        raise UserError(f"{directory} is no recipe: {what}")
    return recipe


def shared_conf() -> Path:
    """The configuration that all recipes share: conf/ of the clone, or of the installed package."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def compose(recipe: Recipe, overrides: Sequence[str], allocation: Allocation | None = None) -> DictConfig:
    """The recipe's configuration, resolved and checked: its files, then the site file, then `overrides`.

    Args:
        recipe: the recipe whose files are read.
        overrides: from the command line, in Hydra's syntax.
        allocation: the one this process is in. Stages run there unless `overrides` choose another launcher;
            their resources follow from it, not from files, and `overrides` come last.

    Raises:
        UserError: for a mistyped key, a value of the wrong type, a group that does not exist, a broken
            file, an interpolation without a target; the message names key and file.
    """
    return settle(open_config(recipe, parse_overrides(overrides), allocation), recipe)


def open_config(
    recipe: Recipe, overrides: Sequence[Override], allocation: Allocation | None = None
) -> DictConfig:
    """As `compose`, but neither resolved nor checked: further keys can be set in it.

    Raises:
        UserError: see `compose`.
    """
    return open_with_sweeper(recipe, overrides, allocation)[0]


def open_with_sweeper(
    recipe: Recipe, overrides: Sequence[Override], allocation: Allocation | None = None
) -> tuple[DictConfig, dict[str, Any]]:
    """As `open_config`, together with `hydra.sweeper`, which --multirun needs; see `swept_params`.

    Returns:
        The configuration, and `hydra.sweeper` as nested dicts and lists.

    Raises:
        UserError: see `compose`.
    """
    site = read_site(os.environ)
    groups, values = split_overrides(overrides, *recipe.folders)
    is_set = any(override.key_or_group in ("launcher", "launcher.name") for override in [*groups, *values])
    in_allocation = allocation is not None and not allocation.is_ours and not is_set
    default = "allocation" if in_allocation else site.launcher
    if default and not is_set:
        groups = [*parse_overrides([f"launcher={default}"]), *groups]
    if any(override.key_or_group == "recipe_dir" for override in [*groups, *values]):
        raise UserError("recipe_dir can't be set: it is the folder of run.sh, or --recipe DIR")
    for override in groups:
        check_choice(override, *recipe.folders)
    own = [folder for folder in recipe.folders if folder != shared_conf()]
    check_no_base_60(file for folder in own for file in yaml_files(folder))
    base = _compose_files(recipe, [override.input_line or "" for override in groups])
    sweeper: Any = OmegaConf.to_container(base.hydra.sweeper, resolve=True)
    with open_dict(base):
        base.pop("hydra")
        base.recipe_dir = str(recipe.directory)
    if EXPERIMENT in base and any(override.key_or_group == EXPERIMENT for override in groups):
        raise UserError(
            f"what +{EXPERIMENT}=… has chosen is read as keys below `{EXPERIMENT}`, where it has no effect:"
            " the first line of such a file must be `# @package _global_`"
        )
    check_blocks(base, recipe.primary)
    base = site.over(base)
    if in_allocation:
        for resources in base.resources.values():
            resources.launcher = "${launcher.name}"
    config = apply_values(base, values, recipe.primary)
    if allocation is not None:
        check_blocks(config, recipe.primary)
        with resolving(recipe.primary, site, config):
            base = _with_allocated_resources(allocation, base, config)
        config = apply_values(base, values, recipe.primary)
    check_blocks(config, recipe.primary)
    with resolving(recipe.primary, site, config):
        _complete_test_sets(config)
    return config, dict(sweeper)


def _complete_test_sets(config: DictConfig) -> None:
    """Give the dataset of a test set that has no `_target_` what it lacks, from the first one of `valid`."""
    entries, like = (
        OmegaConf.select(config, "dataset.test"),
        OmegaConf.select(config, "dataset.valid[0].dataset"),
    )
    for entry in entries if isinstance(entries, ListConfig) and isinstance(like, DictConfig) else ():
        dataset = entry.get("dataset") if isinstance(entry, DictConfig) else None
        if isinstance(dataset, DictConfig) and "_target_" not in dataset:
            with open_dict(entry):
                entry.dataset = OmegaConf.merge(like, dataset)


def swept_params(sweeper: Mapping[str, Any]) -> dict[str, str]:
    """A recipe's own `hydra.sweeper.params`, as they would be typed: {"optimizer.lr": "1,2"}."""
    return {str(key): str(value) for key, value in (sweeper.get("params") or {}).items()}


def settle(config: DictConfig, recipe: Recipe) -> DictConfig:
    """Resolve `config`, from `open_config`, in place, and check it.

    Raises:
        UserError: see `compose`.
    """
    with resolving(recipe.primary, read_site(os.environ), config):
        _check_given(config, recipe.primary)
        check_blocks(config, recipe.primary)
        check_depends_on(config)
        if config.stats_dir == "auto":
            config.stats_dir = "@stats"  # the model may name files below it, which must not change the hash
            config.stats_dir = f"{config.recipe_dir}/exp/stats/{stats_hash(config)}"
        with secrets_named(config):
            try:
                OmegaConf.resolve(config)
            except OmegaConfBaseException:
                OmegaConf.missing_keys(config)  # fails as well, with the key in the error
                raise
        refuse_secrets(config)
        check_secrets_set(config, os.environ)
        check_config(config)  # a value may still hold ${…}: it was escaped, or is the name of a folder
    return config


def _check_given(config: DictConfig, where: str) -> None:
    """Check that every mandatory key (`???`) has a value.

    Raises:
        UserError: with the overrides to give.
    """
    values = flatten(OmegaConf.to_container(config, resolve=False))  # OmegaConf.missing_keys would resolve
    missing = sorted(key for key, value in values.items() if value == "???")
    if missing:
        gives = " ".join(f"{key}={'PATH' if _PATH_KEY.search(key) else 'VALUE'}" for key in missing)
        has = "has" if len(missing) == 1 else "have"
        raise UserError(f"{', '.join(missing)} {has} no value in {where}: give {gives}")


@contextmanager
def resolving(where: str, site: Site, config: DictConfig | None = None) -> Iterator[None]:
    """Turns OmegaConf's errors, such as a value that can't be resolved, into UserErrors.

    Args:
        where: the file to name in the message when OmegaConf names no key.
        site: its file is named if the key comes from there.
        config: what is resolved; a broken interpolation is looked for in it.

    Raises:
        UserError: see `compose`.
    """
    try:
        yield
    except OmegaConfBaseException as error:
        key, what = explain(error, config)
        file = f"{short_path(site.path)}: " if site.sets(key) else ""
        raise UserError(f"{file}{key or where}: {what}") from error


def _with_allocated_resources(allocation: Allocation, base: DictConfig, config: DictConfig) -> DictConfig:
    """`base` with the resources of the allocation for the stages that `config` runs in it."""
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

    try:
        with _without_global_hydra(), initialize_config_dir(str(recipe.conf), version_base=None):
            searched = ", ".join(f"file://{folder}" for folder in recipe.folders[1:])
            return hydra_compose(
                "config",
                overrides=[f"hydra.searchpath=[{searched}]", *overrides],
                return_hydra_config=True,
            )
    except Exception as error:  # Hydra raises whatever a strange file or override makes it do
        raise UserError(_broken_file(recipe) or _composition_message(error, recipe)) from error


def _broken_file(recipe: Recipe) -> str:
    """What is wrong with the first of a recipe's files that is not YAML of keys and values; else empty."""
    for path in [path for folder in recipe.folders for path in yaml_files(folder)]:
        try:
            content = load_keys(path)
        except yaml.YAMLError as error:
            return f"{short_path(path)}: broken YAML: {one_line(error)}"
        except UnicodeError as error:
            return f"{short_path(path)}: no UTF-8 text ({one_line(error)}): save it as UTF-8"
        except OSError as error:
            return f"{short_path(path)} can't be read: {error.strerror or one_line(error)}"
        except RecursionError:
            return f"{short_path(path)} is nested too deeply, or an anchor (&) holds itself"
        except (OmegaConfBaseException, ValueError, TypeError) as error:
            return f"{short_path(path)}: {reason(error)}"
        for key in REQUIRED:
            if key in content and isinstance(unresolved(content, key), ListConfig):
                return f"{key} of {short_path(path)} is a list, and takes a group of keys (name: value)"
    return ""


@contextmanager
def _without_global_hydra() -> Iterator[None]:
    """Sets aside the GlobalHydra of a surrounding Hydra application."""
    from hydra.core.global_hydra import GlobalHydra

    instance = GlobalHydra.instance()
    before, instance.hydra = instance.hydra, None
    try:
        yield
    finally:
        instance.hydra = before


def _composition_message(error: Exception, recipe: Recipe) -> str:
    """Hydra's message in one line, with the choices if it lists them, and its cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    choices = [line for line in lines[1:] if not line.startswith(("Config search path", "provider=", "set "))]
    shown = " ".join([lines[0], *choices]) if lines else type(error).__name__
    group = _NO_DEFAULT.match(shown)
    if group and (shared_conf() / group[1]).is_dir():
        return (
            f"{recipe.primary} has no {group[1]} among its `defaults`, and none can be chosen: each recipe"
            " has it from `base`, which comes first in them (defaults: [base, _self_])"
        )
    cause = reason(error.__cause__) if error.__cause__ else ""
    return (
        f"{short_path(recipe.conf)}: {one_line(shown)}{f': {cause}' if cause and cause not in shown else ''}"
    )


def to_plain(config: Any) -> Any:
    """Resolved configuration as dicts and lists."""
    return OmegaConf.to_container(config, resolve=True)
