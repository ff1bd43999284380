"""Flattens nested values to dotted keys."""

from collections.abc import Iterable
from typing import Any

Flat = dict[str, Any]
"""Dotted key -> plain value."""


def flatten(value: Any, prefix: str = "") -> Flat:
    """Nested dicts and lists as dotted keys; empty ones are kept, to differ from absent ones."""
    if isinstance(value, dict) and value:
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and value:
        items = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        return {prefix: value}
    flat: Flat = {}
    for name, inner in items:
        flat |= flatten(inner, f"{prefix}.{name}" if prefix else name)
    return flat


def flat_keys(node: Any, prefix: str = "") -> list[str]:
    """All dotted keys below the plain value `node`, at every level."""
    if isinstance(node, dict):
        children: Iterable[tuple[Any, Any]] = node.items()
    elif isinstance(node, list):
        children = enumerate(node)
    else:
        return []
    keys = []
    for name, child in children:
        dotted = f"{prefix}{name}"
        keys += [dotted, *flat_keys(child, f"{dotted}.")]
    return keys
