"""Keeps secrets out of all files: a configuration names the variable, which is read where it is used.

`${oc.env:WANDB_API_KEY}` is saved unresolved, and no hash or comparison contains its value. A secret as plain
text in a configuration or on the command line is refused.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from espnet3.config.checks.folders import expanded
from espnet3.config.flat import flatten
from espnet3.errors import UserError

_VARIABLE = re.compile(
    r"(^|_)(TOKEN|KEY|PAT)$|APIKEY|SECRET|PASSW|PASSPHRASE|CREDENTIAL"
    r"|(?<!LOW)(?<!HIGH)(?<!BAND)(?<!ALL)_PASS$|^PASS$|_PWD$",
    re.IGNORECASE,
)
"""Names of environment variables that hold secrets; not PWD, nor filters such as LOW_PASS."""
_KEY = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|credentials?)(_|$)"
    r"|_pwd$|(^|_)(db|database|user|login|admin|root|smtp|mail|ftp|ssh|proxy|mysql|postgres)_?pass$"
    r"|(^|_)(api|access|auth|secret|private|signing|encryption)_?key$"
    r"|(^|_)(api|access|auth|bearer|refresh|oauth|security|hub|hf|github|gitlab|wandb|neptune|slack)_?token$"
)
"""Names of keys that hold secrets: not token_list, token_type, pad_token, blank_key, sort_key."""
_NOT_ITSELF = re.compile(r"_(file|path|dir|env|name|type|length|mode)$")
"""Endings of keys that describe a secret and do not hold it."""
_LOOKS_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9+_=-]{32,}")
"""A value that counts as a secret under a key that may hold one: `token`, `key`."""
_SECRET_FORMAT = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|sk-[\w-]{20,}|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,})|://[^/@\s:]+:[^/@\s$]+@"
    r"|\b(?i:bearer)\s+(?=\S*\d)[\w.~+/=-]{8,}|\b(?i:authorization):\s*\w+\s+[\w.~+/=-]{8,}"
)
"""Formats of secrets: tokens of well-known services, a password in a URL, and headers of HTTP."""
_HEX_KEY = re.compile(r"(?<![\w/@:.#-])(?=\w*\d)(?=\w*[a-fA-F])([0-9a-f]{32,}|[0-9A-F]{32,})(?![\w/])")
"""A key in hexadecimal digits in a line of shell; not one in a path or the name of an image. See `_HASH`."""
_HASH = re.compile(
    r"\bgit\s.*|\w*(commit|rev|revision|sha\d*|md5|hash|digest|checksum|version)(sum)?[=\s]\S*", re.IGNORECASE
)
"""Parts of a line of shell whose hexadecimal digits are no key."""
_ASSIGNED = re.compile(r"(?<![\w$])(\w+)=(?![$`]|[\"'][$`])[\"']?[^\s\"',]")
"""An assignment in a line of shell or an option, except one from another variable ($OTHER)."""
_FROM_ENVIRONMENT = re.compile(r"\$\{oc\.env:\s*['\"]?(\w+)['\"]?\s*(,[^}]*)?\}")
_LEAST_LENGTH = 8
"""Shorter values are not treated as secrets: they would match everywhere."""


def is_secret_variable(name: str) -> bool:
    """Whether an environment variable of this name holds a secret: WANDB_API_KEY, HF_TOKEN, DB_PASSWORD."""
    return _VARIABLE.search(name) is not None


@contextmanager
def secrets_named(config: DictConfig) -> Iterator[None]:
    """Context that leaves secrets in `config` unresolved: `${oc.env:WANDB_API_KEY}`.

    A variable is secret by its name, or because a key such as `password` reads it.
    """
    variables = _variables_of_secret_keys(config)

    def text(variable: str, *default: Any) -> Any:
        if not (is_secret_variable(variable) or variable in variables):
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
    """Check that `config`, resolved inside `secrets_named`, holds no secret as text.

    Raises:
        UserError: naming the key (not the secret) and what to write instead.
    """
    secrets = secret_values(os.environ)
    for key, value in flatten(OmegaConf.to_container(config, resolve=False)).items():
        if isinstance(value, bool | dict | list) or value in (None, ""):
            continue
        text = str(value)
        variable = _FROM_ENVIRONMENT.search(text)
        copied = next((name for name, secret in secrets.items() if secret in text), None)
        if key.startswith("resources."):
            assigned = [name for name in _ASSIGNED.findall(text) if is_secret_variable(name)]
            exposed = [*([variable[1]] if variable else []), *([copied] if copied else []), *assigned]
            if exposed:
                raise UserError(
                    f"{key} would write the secret {exposed[0]} into the job's script: leave it out and"
                    f" export {exposed[0]} before the command, whose environment the job has"
                )
            if _SECRET_FORMAT.search(text) or _HEX_KEY.search(_HASH.sub("", text)):
                raise UserError(
                    f"{key} would write a secret into the job's script: export it as a variable before the"
                    " command, whose environment the job has, and name the variable there: $NAME"
                )
        if copied or (not variable and _is_secret(key, text)):
            raise UserError(
                f"{key} holds a secret as text, which would be saved with the run: export it as a"
                f" variable of the environment and give {key}='${{oc.env:{copied or _suggested(key)}}}'"
            )


def check_secrets_set(config: DictConfig, environment: Mapping[str, str]) -> None:
    """Check that every variable that `config` reads from the environment is set.

    Raises:
        UserError: naming variable and key.
    """
    for key, value in flatten(OmegaConf.to_container(config, resolve=False)).items():
        for name, default in _FROM_ENVIRONMENT.findall(value if isinstance(value, str) else ""):
            if not default and name not in environment:
                raise UserError(f"{name} is not set here, and {key} takes it from the environment")


def secret_values(environment: Mapping[str, str]) -> dict[str, str]:
    """The secrets in `environment`, by name; not paths of files, short values, or values like a word."""
    return {
        name: value
        for name, value in environment.items()
        if is_secret_variable(name)
        and (len(value) >= 2 * _LEAST_LENGTH or (len(value) >= _LEAST_LENGTH and re.search(r"\d", value)))
        and not (value.startswith(("/", "~")) and expanded(value).exists())
    }


def hide_secrets(text: str, environment: Mapping[str, str]) -> str:
    """`text`, such as an error message, with *** for the secrets in `environment` and what looks like one."""
    for value in secret_values(environment).values():
        text = text.replace(value, "***")
    return _SECRET_FORMAT.sub("***", text)


def _is_secret(key: str, text: str) -> bool:
    if _SECRET_FORMAT.search(text):
        return True
    name = _last_name(key)
    if _NOT_ITSELF.search(name):
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
