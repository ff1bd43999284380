"""espnet3: a launcher for HPC batch jobs and a suite of speech recipes.

The Python interface is `launch` and `load_run`; both are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet3.api.launch import launch, load_run

__version__ = "0.2.0"
__all__ = ["__version__", "launch", "load_run"]


def __getattr__(name: str) -> Any:
    if name in ("launch", "load_run"):
        return getattr(import_module("espnet3.api.launch"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
