"""Plain attributes of a LightningModule that are set quickly."""

from types import NoneType
from typing import Any

from lightning.pytorch import LightningModule

PLAIN = frozenset({str, int, bool, NoneType})


class QuickAttributes(LightningModule):
    """Sets plain attributes without torch's search among parameters, buffers and modules.

    Lightning notes on the module which hook runs, thirty times for each batch of automatic optimization,
    which takes 1% of a small network's batch.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """As torch does: an attribute among the plain ones that gets a plain value stays among them."""
        if type(value) in PLAIN and name in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)
