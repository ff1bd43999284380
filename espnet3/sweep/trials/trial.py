"""One trial of a sweep: what it is, as a file in its run directory, and its configuration."""

import copy
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from espnet3.config.secrets import secrets_named
from espnet3.rundir.atomic import write_text
from espnet3.rundir.json_file import read_dataclass, write_dataclass
from espnet3.sweep.trials.family import Changes, place
from espnet3.sweep.trials.folder import config_file, trial_dir

TRIAL = "trial.json"
Base = dict[str, Any]
"""What trials vary: see `Family.base`."""


@dataclass(frozen=True)
class Trial:
    """What a trial is made from: `trial.json` in its folder."""

    name: str
    """Its folder in `trials/`."""
    digest: str
    """Its identity."""
    values: dict[str, Any]
    """Swept key -> value."""
    overrides: list[str]
    """The same as one would type it."""
    config: str
    """The file in `configs/` that it varies."""
    changes: Changes
    """Dotted key -> value: what is different there."""
    code: dict[str, str]
    """The recipe's own Python files -> SHA-256, when it was planned."""
    stages: list[str]
    """What it runs."""
    command: str
    """Makes the same training in a run directory of its own."""


def write_trial(sweep: Path, trial: Trial) -> None:
    """Make the trial's folder and describe it there."""
    trial_dir(sweep, trial.name).mkdir(parents=True, exist_ok=True)
    write_dataclass(trial_dir(sweep, trial.name) / TRIAL, trial, durable=False)


def read_trial(sweep: Path, name: str) -> Trial | None:
    """The trial of this name; None where its folder is gone."""
    return read_dataclass(Trial, trial_dir(sweep, name) / TRIAL)


def trial_config(sweep: Path, trial: Trial) -> DictConfig:
    """The configuration of a trial, resolved except for secrets, with its own folder as run directory."""
    return configured(sweep, trial, read_base(sweep, trial.config), trial.name, trial_dir(sweep, trial.name))


def configured(sweep: Path, trial: Trial, base: Base, tag: str, exp_dir: Path) -> DictConfig:
    """The configuration of a trial, which varies `base`, under this tag in this run directory."""
    plain = copy.deepcopy(base)
    for key, value in trial.changes.items():
        place(plain, key, value)
    plain |= {"tag": tag, "exp_dir": str(exp_dir)}
    plain["sweep"]["dir"] = str(sweep)
    config = OmegaConf.create(plain)
    with secrets_named(config):
        OmegaConf.resolve(config)
    OmegaConf.set_struct(config, True)
    return config


def value_at(base: Base, changes: Changes, key: str) -> Any:
    """What a trial has at a dotted key; None where there is no such key."""
    at: Any = base
    done, rest = "", key.split(".")
    while True:
        if done in changes:
            at = changes[done]
        if not rest:
            return at
        name, *rest = rest
        done = f"{done}.{name}" if done else name
        try:
            at = at[int(name)] if isinstance(at, list) else at[name]
        except (KeyError, IndexError, ValueError, TypeError):
            if done not in changes:
                return None


def base_name(base: Base) -> str:
    """What the file of a base is called: by its content."""
    return hashlib.sha256(json.dumps(base, sort_keys=True, default=str).encode()).hexdigest()[:12]


def write_base(sweep: Path, base: Base) -> None:
    """Keep what trials vary, if it is not there yet."""
    file = config_file(sweep, base_name(base))
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, OmegaConf.to_yaml(OmegaConf.create(base)))


@cache
def read_base(sweep: Path, name: str) -> Base:
    """What trials vary, from its file, which is named by its content; nobody may change it."""
    base: Any = OmegaConf.to_container(OmegaConf.load(config_file(sweep, name)), resolve=False)
    return dict(base)
