"""Which keys of a configuration depend on which others, by the interpolations `${key}` in it."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

_PLAIN = re.compile(r"\$\{([^{}:$]*)\}")
"""`${key}`, `${.key}`, `${key[0]}` with nothing else inside."""
_CALL = re.compile(r"\$\{([^{}:$]+):[^{}$]*\}")
"""`${resolver:arguments}`, when what is inside it has been taken out."""
_READS_KEYS = re.compile(r"oc\.(?!env$|decode$|create$)")
"""Resolvers that are given a key as text: what they read can't be told from a `${…}`."""
_TAKEN_OUT = "\0"


def dependents(config: DictConfig, keys: Iterable[str]) -> set[str]:
    """Keys whose values may change with one of `keys`, through interpolations; the outermost ones only.

    A key whose interpolation is itself made of interpolations counts as depending on everything.
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
                or any(overlap(one, other) for one in references for other in changed if one)
            )
        }
        if not new:
            return outermost(found)
        found |= new
        changed |= new


def interpolations(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Key and text of every value that holds an interpolation."""
    yield from _interpolations(config, OmegaConf.to_container(config, resolve=False), "")


def overlap(one: str, other: str) -> bool:
    """Whether two dotted keys name the same node, or one lies inside the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def outermost(keys: Iterable[str]) -> set[str]:
    """Those of `keys` that lie inside no other."""
    all_keys = set(keys)
    parents = {key: key.split(".") for key in all_keys}
    return {
        key
        for key, parts in parents.items()
        if not any(".".join(parts[:length]) in all_keys for length in range(1, len(parts)))
    }


def _interpolations(node: Any, plain: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Those below `node`, of which `plain` is the unresolved content."""
    for key, value in plain.items() if isinstance(plain, dict) else enumerate(plain):
        if isinstance(value, dict | list):
            yield from _interpolations(node[key], value, _below(prefix, key))
        elif isinstance(value, str) and OmegaConf.is_interpolation(node, key):
            yield _below(prefix, key), value


def _below(prefix: str, name: Any) -> str:
    return f"{prefix}.{name}" if prefix else str(name)


def _references(key: str, text: str) -> set[str] | None:
    """The keys that the value `text` of `key` reads; None when that can't be told."""
    found: set[str] = set()
    while True:
        plain = _PLAIN.search(text)
        call = _CALL.search(text)
        if plain is not None:
            name = plain[1].strip()
            if _TAKEN_OUT in name:
                return None
            found.add(_absolute(key, name))
            text = text.replace(plain[0], _TAKEN_OUT)
        elif call is not None:
            if _TAKEN_OUT in call[1] or _READS_KEYS.match(call[1].strip()):
                return None
            text = text.replace(call[0], _TAKEN_OUT)
        else:
            return None if "${" in text.replace(r"\${", "") else found


def _absolute(key: str, name: str) -> str:
    """`name` as a key from the top: dots in front of it are steps up from `key`."""
    name = re.sub(r"\[([^\]]*)\]", r".\1", name)
    up = len(name) - len(name.lstrip("."))
    if not up:
        return name
    parents = key.split(".")[:-up]
    return ".".join([*parents, *([name[up:]] if name[up:] else [])])
