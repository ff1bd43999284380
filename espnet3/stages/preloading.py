"""Import what trainings need, in a process whose children run stages."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib import import_module

from espnet3.stages.importing import quick_imports

MODULES = (
    *("espnet3.components.callbacks.failure_time", "espnet3.components.callbacks.progress"),
    *("espnet3.components.checkpoint.run_checkpoint", "espnet3.components.data.instantiation"),
    *("espnet3.components.modeling.lightning_module", "espnet3.components.trainers.build"),
)
"""Without those of recipes, which belong to one configuration."""


@cache
def preload() -> None:
    """Import torch, Lightning and the components; nothing is computed, and no GPU is touched.

    Only the first call does.
    """
    import_in_advance(MODULES)


def import_in_advance(names: Iterable[str]) -> None:
    """Import modules; what can't be imported is left to the stage that needs it, whose failure says so."""
    missing = [name for name in names if name not in sys.modules]
    if missing:
        with quick_imports(), suppress(Exception):
            for name in missing:
                import_module(name)
