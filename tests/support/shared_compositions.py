"""Hydra's compositions of unchanged files, made once for all tests of a process: half of what one costs."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from espnet3.config.compose import Recipe


def shared(compose_files: Callable[[Recipe, list[str]], DictConfig]) -> Callable[..., DictConfig]:
    """`compose_files`, which is asked again for the same choices only when a file has changed.

    What is shared comes before the values of a command line, the site file and all checks.
    """
    found: dict[Any, DictConfig] = {}

    def composed(recipe: Recipe, overrides: list[str]) -> DictConfig:
        files = (path for folder in recipe.folders for path in sorted(folder.rglob("*.yaml")))
        key = (recipe, tuple(overrides), tuple((path, _state(path)) for path in files))
        if key not in found:
            found[key] = compose_files(recipe, overrides)
        return deepcopy(found[key])

    return composed


def _state(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
