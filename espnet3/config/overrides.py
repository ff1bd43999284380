"""Checks overrides from the command line against the composed configuration."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from espnet3.config.checks.known_keys import taker
from espnet3.config.checks.sbatch_names import minutes_of, resource_named_by_sbatch
from espnet3.config.flat import flat_keys
from espnet3.errors import UserError, nearest, one_line, short_path, suggestion

_MOST_NAMED = 3
"""So many keys that a short name may mean are listed."""
_LOOKS_MISTYPED = 0.8

_DEEPEST = 50
"""Levels of a value; OmegaConf and YAML end at about twice as many."""


def parse_overrides(overrides: Sequence[str], *, several: bool = False) -> list[Override]:
    """Hydra's overrides as objects.

    Args:
        overrides: as they are typed.
        several: whether an override may hold several values, as with --multirun.

    Raises:
        UserError: naming the override that does not parse, or that holds several values without `several`.
    """
    parsed = []
    for text in overrides:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError(
                f"{text!r} is no text in {sys.getfilesystemencoding()}, the coding of this shell's locale"
                " (LC_ALL): export LC_ALL=C.UTF-8, and give UTF-8"
            )
        try:
            override = OverridesParser.create().parse_override(text)
            is_too_deep = _depth(override.value()) > _DEEPEST
        except RecursionError:
            is_too_deep = True
        except (HydraException, ValueError) as error:
            reason = one_line(error).partition(" See https")[0] + _quoted_hint(text)
            raise UserError(f"{text!r} is no override (key=value, +key=value, ~key): {reason}") from error
        if is_too_deep:
            raise UserError(f"{text.partition('=')[0]}: its value is nested too deeply")
        if not override.key_or_group:
            raise UserError(f"{text!r} is no override (key=value, +key=value, ~key): the key is missing")
        if override.is_sweep_override() and not several:
            raise UserError(
                f"{text!r} holds several values: a list is written {override.key_or_group}=[…], and"
                " --multirun runs one trial for each value"
            )
        parsed.append(override)
    return parsed


def _depth(value: Any) -> int:
    """How deep lists and groups of keys lie in each other."""
    if isinstance(value, dict | list):
        return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def _quoted_hint(text: str) -> str:
    """How to give a value of characters that Hydra takes only in quotes, such as ö; else empty."""
    key, _, value = text.partition("=")
    if not value or set(value) & set("'\"\\${}[](),"):
        return ""
    quoted = f'{key}="{value}"'
    try:
        OverridesParser.create().parse_override(quoted)
    except (HydraException, ValueError, RecursionError):
        return ""
    return f"; give it in quotes, {shlex.quote(quoted)}"


def split_overrides(overrides: Iterable[Override], *conf: Path) -> tuple[list[Override], list[Override]]:
    """Overrides that Hydra composes (choose files, add or delete keys), and those that set a value."""
    groups: list[Override] = []
    values: list[Override] = []
    for override in overrides:
        name = override.key_or_group
        is_group = any(_is_folder(folder / name) for folder in conf)
        composed = is_group or override.is_add() or override.is_delete() or name.startswith("hydra")
        (groups if composed else values).append(override)
    return groups, values


def check_choice(override: Override, *conf: Path) -> None:
    """Check that the file that `override` chooses from a group exists.

    Raises:
        UserError: naming the choices of the group.
    """
    group, choice = override.key_or_group, override.value()
    if group.startswith("hydra/"):
        return  # Hydra and its plugins have further choices, which Hydra lists
    folders = [folder / group for folder in conf if _is_folder(folder / group)]
    if override.is_delete() or not (folders or group == "experiment"):
        _check_package(override)
        return
    choices = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    unknown = [name for name in (choice if isinstance(choice, list) else [choice]) if name not in choices]
    if unknown:
        hint = suggestion(str(unknown[0]), choices, otherwise=f"there are: {', '.join(choices) or 'none'}")
        if not isinstance(unknown[0], str):
            given = "null" if unknown[0] is None else unknown[0]
            raise UserError(
                f"{override.input_line}: {group} takes the name of a file in {group}/, not {given}; {hint}"
            )
        raise UserError(
            f"{override.input_line}: no file {group}/{unknown[0]}.yaml in {short_path(conf[0])}; {hint}"
        )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name of thousands of characters
        return False


def _check_package(override: Override) -> None:
    if override.package is not None:
        raise UserError(
            f"{override.input_line}: {override.key_or_group} is no group of files, and only such"
            " a group is followed by @"
        )


def apply_values(base: DictConfig, values: Iterable[Override], where: str) -> DictConfig:
    """`base`, which comes from the file `where`, with every `key=value` of `values` set.

    Raises:
        UserError: for a key that `base` does not have (the nearest ones are named), or a value of another
            type than the one it replaces.
    """
    config = base.copy()
    for override in values:
        check_key(config, override, where)
        check_value(base, override, where)
        # an empty group (options: {}) takes any keys
        set_value(config, override, force_add=is_empty_group(base, override.key_or_group))
    return config


def check_key(config: DictConfig, override: Override, where: str) -> None:
    """Check that `config`, from the file `where`, has the key that `override` sets.

    Raises:
        UserError: naming the nearest keys.
    """
    _check_package(override)
    key, value = override.key_or_group, override.value()
    if meant := resource_named_by_sbatch(key, value):
        raise UserError(f"{override.input_line}: {key} is sbatch's name of it: give {meant}")
    old = _value_at(config, key)
    inner = flat_keys(value) if isinstance(old, DictConfig) and len(old) and isinstance(value, dict) else []
    for name in (key, *(f"{key}.{part}" for part in inner)):
        hint = _unknown_key(config, name)
        if hint:
            raise UserError(f"{override.input_line}: {where} has no key {name}; {hint}")


def check_value(base: DictConfig, override: Override, where: str) -> None:
    """Check that the value of `override` has the type of the value that it replaces in `base`.

    Raises:
        UserError: naming what is expected.
    """
    key, value = override.key_or_group, override.value()
    expected = type_problem(_value_at(base, key), value)
    if key.endswith("timeout_min") and (minutes := minutes_of(value)):
        expected = expected and f"minutes ({key}={minutes})"
    if expected:
        raise UserError(f"{override.input_line}: {key} of {where} takes {expected}, not {value!r}")


def set_value(config: DictConfig, override: Override, *, force_add: bool = False) -> None:
    """Apply `override` to `config`; a group of keys is merged into the existing one.

    Raises:
        UserError: with OmegaConf's message.
    """
    try:
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=force_add)
    except OmegaConfBaseException as error:
        raise UserError(f"{override.input_line}: {one_line(error)}") from error
    except RecursionError as error:
        raise UserError(f"{override.key_or_group}: its value is nested too deeply") from error


def is_empty_group(config: DictConfig, key: str) -> bool:
    """Whether `key` is a group without keys, such as additional options: it takes any key."""
    old = _value_at(config, key)
    return isinstance(old, DictConfig) and len(old) == 0


def _value_at(config: DictConfig, key: str) -> Any:
    """The value at `key`; None where there is none, or it can't be resolved, of which others speak."""
    try:
        return OmegaConf.select(config, key, throw_on_missing=False)
    except OmegaConfBaseException:
        return None


def _unknown_key(config: DictConfig, key: str) -> str | None:
    """A suggestion in place of `key` if `config` does not have it; else None.

    A short name such as `generator.lr` leads to the keys that hold its parts in this order. Below an existing
    group the nearest key of the group is named, elsewhere the nearest of all.
    """
    known = flat_keys(OmegaConf.to_container(config, resolve=False))
    if key in known:
        return None
    new = f"a new key is written +{key}=…"
    by = taker(config, key)
    if by:
        return f"{by} takes it: {new}"
    full_names = [name for name in known if _abbreviates(key, name)]
    if 0 < len(full_names) <= _MOST_NAMED:
        return f"did you mean {' or '.join(full_names)}?"
    group, _, last = key.rpartition(".")
    if group not in known:
        return suggestion(key, known, otherwise=new)
    siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == group]
    guess = nearest(last, siblings)
    if not guess:
        return new
    is_mistyped = nearest(last, siblings, cutoff=_LOOKS_MISTYPED)
    return f"did you mean {group}.{guess}?{'' if is_mistyped else f' ({new})'}"


def _abbreviates(short: str, key: str) -> bool:
    """Whether `key` has the parts of `short` in this order, and the same last one."""
    parts = iter(key.split("."))
    return key.rpartition(".")[2] == short.rpartition(".")[2] and all(
        part in parts for part in short.split(".")
    )


def type_problem(old: Any, new: Any) -> str | None:
    """The expected kind of value if `new` is not of the kind of `old`; else None.

    None means "not set" and is accepted everywhere; whole and decimal numbers may replace each other,
    because many options take both (limit_val_batches=10, gradient_clip_val=0.5).
    """
    if old is None or new is None or (isinstance(new, str) and "${" in new):
        return None
    if isinstance(old, bool):
        return None if isinstance(new, bool) else "true or false"
    if isinstance(old, int | float):
        is_number = isinstance(new, int | float) and not isinstance(new, bool)
        return None if is_number else "a number"
    if isinstance(old, DictConfig | dict):
        return None if isinstance(new, DictConfig | dict) else "a group of keys"
    if isinstance(old, ListConfig | list):
        return None if isinstance(new, ListConfig | list) else "a list"
    # Hydra reads tag=1 as a number; a name made of digits is still a name.
    return "a single value" if isinstance(new, DictConfig | ListConfig | dict | list) else None
