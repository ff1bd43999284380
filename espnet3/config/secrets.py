"""Secrets stay out of every file: a configuration names the variable, which is read where the value is used.

`${oc.env:WANDB_API_KEY}` is saved as it stands, and no hash or comparison holds its value. A secret that is
written out in a configuration or on the command line is refused.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from espnet3.config.flat import flatten
from espnet3.errors import UserError

_VARIABLE = re.compile(r"(^|_)(TOKEN|KEY|PAT)$|APIKEY|SECRET|PASSW|PASSPHRASE|CREDENTIAL", re.IGNORECASE)
"""Names of environment variables that hold secrets."""
_KEY = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|credentials?)(_|$)"
    r"|(^|_)(api|access|auth|secret|private|signing|encryption)_?key$"
    r"|(^|_)(api|access|auth|bearer|refresh|oauth|security|hub|hf|github|gitlab|wandb|neptune|slack)_?token$"
)
"""Names of keys that hold secrets: not token_list, token_type, pad_token, blank_key, sort_key."""
_ABOUT_ONE = re.compile(r"_(file|path|dir|env|name|type|length|mode)$")
"""A key with such an end tells something about a secret, not the secret."""
_LOOKS_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9+_=-]{32,}")
"""A value that is a secret under a key which may hold one: `token`, `key`."""
_ISSUED = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|sk-[\w-]{20,}|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,})|://[^/@\s:]+:[^/@\s$]+@"
)
"""Secrets by their looks: what well-known services hand out, and a password within an address."""
_ASSIGNED = re.compile(r"(?<![\w$])(\w+)=(?![$`]|[\"'][$`])[\"']?[^\s\"',]")
"""A value given to a variable in a line of shell or an option, unless it comes from elsewhere ($OTHER)."""
_FROM_ENVIRONMENT = re.compile(r"\$\{oc\.env:\s*['\"]?(\w+)['\"]?\s*(,[^}]*)?\}")
_LEAST_LENGTH = 8
"""Shorter values of such variables are no secrets, and would be found everywhere."""


def is_secret_variable(name: str) -> bool:
    """Whether an environment variable of this name holds a secret: WANDB_API_KEY, HF_TOKEN, DB_PASSWORD."""
    return _VARIABLE.search(name) is not None


@contextmanager
def secrets_named(config: DictConfig) -> Iterator[None]:
    """While entered, resolving a part of `config` leaves secrets as they are: `${oc.env:WANDB_API_KEY}`.

    Variables count as secret by their names, and those that keys like `password` are taken from.
    """
    named = _variables_of_secret_keys(config)

    def text(variable: str, *default: Any) -> Any:
        if not (is_secret_variable(variable) or variable in named):
            return oc.env(variable, *default)
        if default == (None,):
            return f"${{oc.env:{variable},null}}"
        if default and variable not in os.environ:
            return oc.env(variable, *default)
        return f"${{oc.env:{variable}}}"

    OmegaConf.register_new_resolver("oc.env", text, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def saved_text(config: DictConfig) -> str:
    """The configuration as it is saved: resolved, except for secrets."""
    with secrets_named(config):
        return OmegaConf.to_yaml(config, resolve=True)


def refuse_secrets(config: DictConfig) -> None:
    """Check that `config`, resolved by way of `secrets_named`, holds no secret as text.

    Raises:
        UserError: naming the key, not the secret, and what to write instead.
    """
    known = secret_values(os.environ)
    for key, value in flatten(OmegaConf.to_container(config, resolve=False)).items():
        if isinstance(value, bool | dict | list) or value in (None, ""):
            continue
        text = str(value)
        named = _FROM_ENVIRONMENT.search(text)
        copied = next((name for name, secret in known.items() if secret in text), None)
        if key.startswith("resources."):
            assigned = [name for name in _ASSIGNED.findall(text) if is_secret_variable(name)]
            found = [*([named[1]] if named else []), *([copied] if copied else []), *assigned]
            if found:
                raise UserError(
                    f"{key} would write the secret {found[0]} into the job's script: leave it out and export"
                    f" {found[0]} before the command, whose environment the job has"
                )
        if copied or (not named and _is_secret(key, text)):
            raise UserError(
                f"{key} holds a secret as text, which would be saved with the run: export it as a"
                f" variable of the environment and give {key}='${{oc.env:{copied or _suggested(key)}}}'"
            )


def check_secrets_set(config: DictConfig, environment: Mapping[str, str]) -> None:
    """Every variable that `config` still takes from the environment must be there.

    Raises:
        UserError: naming variable and key.
    """
    for key, value in flatten(OmegaConf.to_container(config, resolve=False)).items():
        for name, default in _FROM_ENVIRONMENT.findall(value if isinstance(value, str) else ""):
            if not default and name not in environment:
                raise UserError(f"{name} is not set here, and {key} takes it from the environment")


def secret_values(environment: Mapping[str, str]) -> dict[str, str]:
    """The secrets in `environment`, by name; no names of files, nor what is short or reads like a word."""
    return {
        name: value
        for name, value in environment.items()
        if is_secret_variable(name)
        and (len(value) >= 2 * _LEAST_LENGTH or (len(value) >= _LEAST_LENGTH and re.search(r"\d", value)))
        and not (value.startswith(("/", "~")) and Path(value).expanduser().exists())
    }


def hide_secrets(text: str, environment: Mapping[str, str]) -> str:
    """`text`, such as an error of some library, with *** in place of the secrets in `environment`."""
    for value in secret_values(environment).values():
        text = text.replace(value, "***")
    return text


def _is_secret(key: str, text: str) -> bool:
    if _ISSUED.search(text):
        return True
    name = _last_name(key)
    if _ABOUT_ONE.search(name):
        return False
    if _KEY.search(name):
        return not text.startswith(("/", "~", "./"))  # a file that holds it
    return is_secret_variable(name) and _LOOKS_RANDOM.fullmatch(text) is not None


def _last_name(key: str) -> str:
    """The key's own name, in snake case: "api_key" of logger.wandb.apiKey and of keys.api_key.0."""
    name = next(part for part in [*reversed(key.split(".")), ""] if not part.isdigit())
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()


def _suggested(key: str) -> str:
    """A name for the variable: WANDB_API_KEY for logger.wandb.api_key."""
    parts = [part for part in key.split(".") if not part.isdigit()]
    return re.sub(r"\W", "_", "_".join(parts[-2:])).upper()


def _variables_of_secret_keys(config: DictConfig) -> set[str]:
    raw = flatten(OmegaConf.to_container(config, resolve=False))
    return {
        name
        for key, value in raw.items()
        if isinstance(value, str) and "${" in value and _KEY.search(_last_name(key))
        for name, _ in _FROM_ENVIRONMENT.findall(value)
    }
