"""Reads a key of a configuration that is a DictConfig, a dict or an object."""

from typing import Any


def config_value(config: Any, key: str) -> Any:
    """The value of `key` in a DictConfig, a dict or a namespace; None when it is not there."""
    if hasattr(config, "get"):
        return config.get(key)
    return getattr(config, key, None)
