"""One trial of a sweep: its description `trial.json`, and its configuration."""

import copy
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.config.flat import flatten
from espnet3.config.saved import read_config
from espnet3.config.secrets import secrets_named
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.files.private import check_private_file
from espnet3.sweep.trials.family import Changes, set_nested
from espnet3.sweep.trials.folder import config_file, trial_dir

TRIAL = "trial.json"
Base = dict[str, Any]
"""The configuration that trials change: see `Family.base`."""


@dataclass(frozen=True)
class Trial:
    """The contents of `trial.json` in a trial's folder."""

    name: str
    """Its folder in `trials/`."""
    digest: str
    """Its identity."""
    values: dict[str, Any]
    """Swept key -> value."""
    overrides: list[str]
    """The same as overrides."""
    config: str
    """The file in `configs/` with its base configuration."""
    changes: Changes
    """Dotted key -> value that differs from the base configuration."""
    code: dict[str, str]
    """The recipe's own Python files -> SHA-256, when it was planned."""
    stages: list[str]
    """The stages it runs."""
    command: str
    """The command that runs the same training in a run directory outside of the sweep."""


def write_trial(sweep: Path, trial: Trial) -> None:
    """Create the trial's folder and write its `trial.json`; whatever the umask, nobody else may change it."""
    folder = trial_dir(sweep, trial.name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o755, exist_ok=True)
    write_dataclass(folder / TRIAL, trial, durable=False)
    (folder / TRIAL).chmod((folder / TRIAL).stat().st_mode & 0o755)


def read_trial(sweep: Path, name: str) -> Trial | None:
    """The trial of this name; None where its folder is gone."""
    return read_dataclass(Trial, trial_dir(sweep, name) / TRIAL)


def trial_config(sweep: Path, trial: Trial) -> DictConfig:
    """The configuration of a trial, resolved except for secrets, with its own folder as run directory.

    Raises:
        UserError: others could have written it, and what it names is run.
    """
    check_private_file(trial_dir(sweep, trial.name) / TRIAL)
    return build_trial_config(
        sweep, trial, read_base(sweep, trial.config), trial.name, trial_dir(sweep, trial.name)
    )


def build_trial_config(sweep: Path, trial: Trial, base: Base, tag: str, exp_dir: Path) -> DictConfig:
    """The configuration of a trial, from its base, with this tag and run directory."""
    plain = copy.deepcopy(base)
    for key, value in trial.changes.items():
        set_nested(plain, key, value)
    plain |= {"tag": tag, "exp_dir": str(exp_dir)}
    plain["sweep"]["dir"] = str(sweep)
    config = OmegaConf.create(plain)
    with secrets_named(config):
        OmegaConf.resolve(config)
    OmegaConf.set_struct(config, True)
    return config


def value_at(base: Base, changes: Changes, key: str) -> Any:
    """A trial's value at a dotted key; None if there is no such key."""
    value: Any = base
    prefix, rest = "", key.split(".")
    while True:
        if prefix in changes:
            value = changes[prefix]
        if not rest:
            return value
        name, *rest = rest
        prefix = f"{prefix}.{name}" if prefix else name
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]
        except (KeyError, IndexError, ValueError, TypeError):
            if prefix not in changes:
                return None


def flatten_changes(trial: Trial) -> dict[str, object]:
    """The changes of a trial with dotted keys."""
    flat: dict[str, object] = {}
    for key, value in trial.changes.items():
        flat |= flatten(value, key)
    return flat


def base_name(base: Base) -> str:
    """The name of a base configuration's file: a hash of its content."""
    return hashlib.sha256(json.dumps(base, sort_keys=True, default=str).encode()).hexdigest()[:12]


def write_base(sweep: Path, base: Base) -> None:
    """Write a base configuration, unless its file exists."""
    file = config_file(sweep, base_name(base))
    if not file.exists():
        file.parent.parent.mkdir(parents=True, exist_ok=True)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_text(file, OmegaConf.to_yaml(OmegaConf.create(base)))


@cache
def read_base(sweep: Path, name: str) -> Base:
    """Read a base configuration. The result is cached: callers must not change it.

    Raises:
        UserError: see `read_config`, or others could have written it, and what it names is run.
    """
    file = config_file(sweep, name)
    base: Any = OmegaConf.to_container(read_config(file), resolve=False)
    check_private_file(file)
    return dict(base)
