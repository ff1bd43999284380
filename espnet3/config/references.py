"""Finds the keys of a configuration that depend on others through interpolations `${key}`."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

_PLAIN = re.compile(r"\$\{([^{}:$]*)\}")
"""`${key}`, `${.key}`, `${key[0]}` with nothing else inside."""
_CALL = re.compile(r"\$\{([^{}:$]+):[^{}$]*\}")
"""`${resolver:arguments}` after the interpolations inside it have been replaced."""
_READS_KEYS = re.compile(r"oc\.(?!env$|decode$|create$)")
"""Resolvers that take a key as text, so what they read is not visible as `${…}`."""
_REPLACED = "\0"


def dependents(config: DictConfig, keys: Iterable[str]) -> set[str]:
    """Keys whose values may change with one of `keys`, through interpolations; the outermost ones only.

    A key whose interpolation contains an interpolated key counts as depending on everything.
    """
    sources = {key: _references(key, text) for key, text in interpolations(config)}
    changed = set(keys)
    found: set[str] = set()
    while True:
        new = {
            key
            for key, references in sources.items()
            if key not in found
            and (
                references is None
                or any(overlap(reference, key) for reference in references for key in changed if reference)
            )
        }
        if not new:
            return outermost(found)
        found |= new
        changed |= new


def interpolations(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Key and text of every value that holds an interpolation."""
    yield from _interpolations(config, OmegaConf.to_container(config, resolve=False), "")


def overlap(first: str, second: str) -> bool:
    """Whether two dotted keys name the same node, or one is below the other."""
    return first == second or first.startswith(f"{second}.") or second.startswith(f"{first}.")


def outermost(keys: Iterable[str]) -> set[str]:
    """Those of `keys` that are not below another one."""
    all_keys = set(keys)
    parents = {key: key.split(".") for key in all_keys}
    return {
        key
        for key, parts in parents.items()
        if not any(".".join(parts[:length]) in all_keys for length in range(1, len(parts)))
    }


def _interpolations(node: Any, plain: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Interpolations below `node`, whose unresolved content is `plain`."""
    for key, value in plain.items() if isinstance(plain, dict) else enumerate(plain):
        if isinstance(value, dict | list):
            yield from _interpolations(node[key], value, _below(prefix, key))
        elif isinstance(value, str) and OmegaConf.is_interpolation(node, key):
            yield _below(prefix, key), value


def _below(prefix: str, name: Any) -> str:
    return f"{prefix}.{name}" if prefix else str(name)


def _references(key: str, text: str) -> set[str] | None:
    """The keys that the value `text` of `key` reads; None if they can't be determined."""
    found: set[str] = set()
    while True:
        plain = _PLAIN.search(text)
        call = _CALL.search(text)
        if plain is not None:
            name = plain[1].strip()
            if _REPLACED in name:
                return None
            found.add(_absolute(key, name))
            text = text.replace(plain[0], _REPLACED)
        elif call is not None:
            if _REPLACED in call[1] or _READS_KEYS.match(call[1].strip()):
                return None
            text = text.replace(call[0], _REPLACED)
        else:
            return None if "${" in text.replace(r"\${", "") else found


def _absolute(key: str, name: str) -> str:
    """`name` as an absolute key: leading dots are levels up from `key`."""
    name = re.sub(r"\[([^\]]*)\]", r".\1", name)
    up = len(name) - len(name.lstrip("."))
    if not up:
        return name
    parents = key.split(".")[:-up]
    return ".".join([*parents, *([name[up:]] if name[up:] else [])])
