"""The site file: a user's launcher and resources for all recipes on one cluster, such as the partition.

It overrides a recipe's configuration, and the command line overrides it; conf/site.yaml is a template.
It may only set what does not change results, so a recipe is the same training at every site.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from espnet3.config.checks.folders import expanded
from espnet3.config.checks.schema import LAUNCHERS, resource_checks
from espnet3.config.checks.yaml_file import check_no_base_60, load_keys
from espnet3.errors import UserError, no_file, one_line, short_path, suggestion
from espnet3.resources import RESOURCES
from espnet3.slurm.sbatch_options import check_sbatch_options

VARIABLE = "ESPNET3_SITE"
"""Environment variable with the path of the file; /dev/null means none."""
ALL = "all"
"""Applies to every stage; the entry of a stage comes first."""
KEYS = ("launcher", "resources")


@dataclass(frozen=True)
class Site:
    """The content of the site file."""

    path: Path = Path(os.devnull)
    launcher: str | None = None
    """The launcher of stages unless the command line gives another."""
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Stage, or `all` -> resource -> value."""

    def over(self, config: DictConfig) -> DictConfig:
        """`config` with the resources of the site applied.

        Raises:
            UserError: naming a stage that `config` does not have.
        """
        config = config.copy()
        stages = [str(stage) for stage in config.resources]
        for stage in self.resources:
            if stage not in (ALL, *stages):
                raise self._mistake(f"resources.{stage}", "no stage", stage, [ALL, *stages])
        for stage in stages:
            for values in (self.resources.get(ALL, {}), self.resources.get(stage, {})):
                for name, value in values.items():
                    OmegaConf.update(config, f"resources.{stage}.{name}", value, merge=True, force_add=True)
        return config

    def sets(self, key: str) -> bool:
        """Whether this file sets `key` (the command line may still override it)."""
        _, stage, name, *_ = [*key.split("."), "", "", ""]
        return any(name in self.resources.get(group, {}) for group in (ALL, stage))

    def _mistake(self, key: str, problem: str, name: str, known: list[str]) -> UserError:
        return UserError(f"{short_path(self.path)}: {key} is {problem}; {suggestion(name, known)}")


def site_path(environment: Mapping[str, str]) -> Path:
    """The path of the site file: from ESPNET3_SITE, else in the user's configuration folder."""
    if environment.get(VARIABLE):
        return expanded(environment[VARIABLE])
    folder = environment.get("XDG_CONFIG_HOME") or expanded(environment.get("HOME") or "~") / ".config"
    return Path(folder) / "espnet3" / "site.yaml"


def read_site(environment: Mapping[str, str]) -> Site:
    """Read the site file; an empty Site if there is none.

    Raises:
        UserError: ESPNET3_SITE names a file that can't be read, or its content is invalid; the message
            names file, key and what is expected.
    """
    path = site_path(environment)
    if (problem := no_file(path)) and path != Path(os.devnull):
        raise UserError(f"the site file {path} {problem}")
    check_no_base_60([path])
    try:
        content: Any = OmegaConf.to_container(load_keys(path), resolve=False)
    except FileNotFoundError:
        if environment.get(VARIABLE):
            raise UserError(
                f"{VARIABLE}={environment[VARIABLE]}: there is no such file; unset {VARIABLE}, or make one:"
                " espnet3 doctor --write-site"
            ) from None
        return Site()
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror or error}") from error
    except (UnicodeError, yaml.YAMLError, RecursionError, OmegaConfBaseException) as error:
        raise UserError(f"{short_path(path)}: broken YAML: {one_line(error)}") from error
    except ValueError as error:
        raise UserError(f"{short_path(path)}: {error}") from error
    site = Site(path)
    content = _group(site, "the file", content)
    for key in content:
        if key not in KEYS:
            hint = suggestion(key, KEYS, otherwise="give it in a recipe or on the command line")
            raise UserError(
                f"{short_path(path)}: {key} is no key of a site, which has {', '.join(KEYS)}; {hint}"
            )
    launcher = content.get("launcher")
    if launcher not in (None, *LAUNCHERS):
        raise UserError(f"{short_path(path)}: launcher={launcher}: takes one of {', '.join(LAUNCHERS)}")
    resources = {}
    for stage, values in _group(site, "resources", content.get("resources")).items():
        resources[stage] = _group(site, f"resources.{stage}", values)
        for name, value in resources[stage].items():
            _check_resource(site, f"resources.{stage}", name, value)
    return Site(path, launcher, resources)


def _group(site: Site, where: str, value: Any) -> dict[str, Any]:
    """`value` if it is a group of keys; null, as in a file of comments only, is an empty group."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(
            f"{short_path(site.path)}: {where} takes a group of keys (name: value), not {value!r}"
        )
    return {str(key): inner for key, inner in value.items()}


def _check_resource(site: Site, where: str, name: str, value: Any) -> None:
    key, checks = f"{where}.{name}", resource_checks()
    if name in RESOURCES and RESOURCES[name].decides_ranks:
        raise UserError(
            f"{short_path(site.path)}: {key} decides how many ranks train, and so the result: give it in a"
            f" recipe or on the command line (resources.train.{name}={value})"
        )
    if name not in checks:
        choices = [key for key in checks if key not in RESOURCES or not RESOURCES[key].decides_ranks]
        raise site._mistake(key, "no resource", name, choices)
    if key == f"resources.{ALL}.launcher":
        raise UserError(f"{short_path(site.path)}: {key} is given as launcher, at the top of the file")
    is_right, expected = checks[name]
    is_interpolation = isinstance(value, str) and "${" in value
    if not is_interpolation and not is_right(value):
        raise UserError(f"{short_path(site.path)}: {key}={value}: takes {expected}")
    if name == "additional_parameters":
        try:
            check_sbatch_options(key, value)
        except UserError as error:
            raise UserError(f"{short_path(site.path)}: {error}") from error
