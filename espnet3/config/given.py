"""Reads a key of a configuration, whatever kind of mapping or object that is."""

from typing import Any


def given(config: Any, key: str) -> Any:
    """The value of `key` in a DictConfig, a dict or a namespace; None when it is not there."""
    if hasattr(config, "get"):
        return config.get(key)
    return getattr(config, key, None)
