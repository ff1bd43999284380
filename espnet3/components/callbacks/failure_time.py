"""Note when a training failed: which rank went first decides whose traceback is shown."""

import time
from typing import Any

from lightning.pytorch import Callback


class FailureTime(Callback):
    """Sets `raised_at` (seconds since the epoch) on an exception that ends the training.

    Lightning tears down before the exception comes out, and a rank whose peer has gone may be done with that
    earlier than the one that failed.
    """

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stamp it."""
        exception.raised_at = time.time()  # type: ignore[attr-defined]
