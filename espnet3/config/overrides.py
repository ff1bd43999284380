"""Check what the user changed on the command line against the composed configuration."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from espnet3.errors import UserError, short_path, suggestion


def parse_overrides(overrides: Sequence[str], *, several: bool = False) -> list[Override]:
    """Hydra's overrides as objects.

    Args:
        overrides: as they are typed.
        several: whether one may hold several values, as --multirun takes them.

    Raises:
        UserError: naming the override that does not parse, or that holds several values and may not.
    """
    parsed = []
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{text!r} is no override (key=value, +key=value, ~key): {reason}") from error
        if override.is_sweep_override() and not several:
            raise UserError(
                f"{text!r} holds several values: a list is written {override.key_or_group}=[…], and"
                " --multirun runs one trial for each value"
            )
        parsed.append(override)
    return parsed


def split_overrides(overrides: Iterable[Override], *conf: Path) -> tuple[list[Override], list[Override]]:
    """Those that choose files, add or delete (Hydra composes them), and those that set a value."""
    groups: list[Override] = []
    values: list[Override] = []
    for override in overrides:
        name = override.key_or_group
        is_group = any((folder / name).is_dir() for folder in conf)
        composed = is_group or override.is_add() or override.is_delete() or name.startswith("hydra")
        (groups if composed else values).append(override)
    return groups, values


def check_choice(override: Override, *conf: Path) -> None:
    """A file that `override` chooses from a group must be there.

    Raises:
        UserError: with what the group has.
    """
    group, choice = override.key_or_group, override.value()
    if group.startswith("hydra/"):
        return  # Hydra and its plugins have further ones, and it lists them
    folders = [folder / group for folder in conf if (folder / group).is_dir()]
    if override.is_delete() or not isinstance(choice, str) or not (folders or group == "experiment"):
        return
    choices = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    if choice not in choices:
        hint = suggestion(choice, choices, otherwise=f"there are: {', '.join(choices) or 'none'}")
        raise UserError(
            f"{override.input_line}: no file {group}/{choice}.yaml in {short_path(conf[0])}; {hint}"
        )


def apply_values(base: DictConfig, values: Iterable[Override], where: str) -> DictConfig:
    """`base`, which comes from the file `where`, with every `key=value` of `values` set.

    Raises:
        UserError: for a key that `base` does not have (the nearest ones are named) or a value whose type
            is not that of the value it replaces.
    """
    config = base.copy()
    for override in values:
        check_key(config, override, where)
        check_value(base, override, where)
        # an empty group, such as {} of further options, takes any keys
        set_value(config, override, force_add=is_empty_group(base, override.key_or_group))
    return config


def check_key(config: DictConfig, override: Override, where: str) -> None:
    """`config`, which comes from the file `where`, must have the key that `override` sets.

    Raises:
        UserError: naming the nearest ones.
    """
    hint = _unknown_key(config, override.key_or_group)
    if hint:
        raise UserError(f"{override.input_line}: {where} has no key {override.key_or_group}; {hint}")


def check_value(base: DictConfig, override: Override, where: str) -> None:
    """The value of `override` must be of the type of the one that it replaces in `base`.

    Raises:
        UserError: naming what is expected.
    """
    key, value = override.key_or_group, override.value()
    expected = type_problem(OmegaConf.select(base, key, throw_on_missing=False), value)
    if expected:
        raise UserError(f"{override.input_line}: {key} of {where} takes {expected}, not {value!r}")


def set_value(config: DictConfig, override: Override, *, force_add: bool = False) -> None:
    """Set in `config` what `override` says; a group of keys is merged into the one that is there.

    Raises:
        UserError: in OmegaConf's words.
    """
    try:
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=force_add)
    except OmegaConfBaseException as error:
        raise UserError(f"{override.input_line}: {str(error).splitlines()[0]}") from error


def is_empty_group(config: DictConfig, key: str) -> bool:
    """Whether `key` is a group of keys that has none, such as further options: it takes any."""
    old = OmegaConf.select(config, key, throw_on_missing=False)
    return isinstance(old, DictConfig) and not old._is_none() and len(old) == 0


def flat_keys(node: Any, prefix: str = "") -> list[str]:
    """Every dotted key below `node`, inner ones included; interpolations are not resolved."""
    if isinstance(node, DictConfig):
        children: list[tuple[str, Any]] = [(str(key), node._get_node(key)) for key in node]
    elif isinstance(node, ListConfig) and not node._is_none() and not node._is_interpolation():
        children = [(str(index), node._get_node(index)) for index in range(len(node))]
    else:
        return []
    keys = []
    for name, child in children:
        dotted = f"{prefix}{name}"
        keys += [dotted, *flat_keys(child, f"{dotted}.")]
    return keys


def _unknown_key(config: DictConfig, key: str) -> str | None:
    """What to write instead of `key`, when `config` does not have it; else None."""
    known = flat_keys(config)
    if key in known:
        return None
    return suggestion(key, known, otherwise=f"a new key is written +{key}=…")


def type_problem(old: Any, new: Any) -> str | None:
    """What kind of value is expected in place of `old`, when `new` is not of that kind; else None.

    None stands for "not set" and is accepted everywhere; whole and decimal numbers replace each other,
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
